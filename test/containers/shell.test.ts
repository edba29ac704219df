import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { environment } from '../../src/containers/podman/container/environment.ts';
import { runFilesMounts, workMount } from '../../src/containers/mounts.ts';
import { planCommand, scriptOf, type ShellChoice } from '../../src/containers/shell.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { makeBareImage, makeImage, type TestImage } from '../support/agent-image.ts';
import {
  disposeAll,
  finished,
  provision,
  startTestPodman,
  type TestPodman,
  testSpec,
} from '../support/podman.ts';

const everything = (): boolean => true;

describe('what a command is run by', () => {
  const argv = (text: string, shell: ShellChoice, ...lacks: readonly string[]) => {
    const plan = planCommand({ text, shell }, 'img', (path) => !lacks.includes(path));
    return 'problem' in plan ? plan.problem : plan.argv;
  };

  it('is bash with pipefail where the image has it, else sh; `sh` is sh in any case', () => {
    assert.deepEqual(argv('-x', 'auto'), ['/bin/bash', '-o', 'pipefail', '-c', '--', '-x']);
    const elsewhere = argv('a', 'auto', '/bin/bash', '/usr/bin/bash');
    assert.equal(elsewhere[0], '/usr/local/bin/bash');
    const none = ['/bin/bash', '/usr/bin/bash', '/usr/local/bin/bash'];
    assert.deepEqual(argv('+x', 'auto', ...none), ['/bin/sh', '-c', '--', '+x']);
    assert.deepEqual(argv('#!/bin/bash\na', 'sh'), ['/bin/sh', '-c', '--', '#!/bin/bash\na']);
    assert.match(String(argv('a', 'bash', ...none)), /no bash: leave `shell` out/);
    assert.match(String(argv('a', 'auto', '/bin/sh', ...none)), /no shell .* begin the command with `#!`/);
  });

  it('is what a `#!` line names, with any spaces, empty lines or marks of Windows', () => {
    for (const text of [
      '#!/usr/bin/env python3\nprint(1)',
      '#!/usr/bin/env python3\r\nprint(1)\r\n',
      '\n  \n#!/usr/bin/env python3\nprint(1)',
      '\uFEFF#!/usr/bin/env python3\nprint(1)',
    ]) {
      const plan = planCommand({ text, shell: 'auto' }, 'img', everything);
      assert.ok(!('problem' in plan));
      assert.deepEqual([plan.argv, plan.ranBy], [['/run/flashpods/command'], '#!/usr/bin/env python3'], text);
      assert.match(scriptOf({ text, shell: 'auto' }) ?? '', /^#!\/usr\/bin\/env python3\nprint\(1\)\n?$/);
    }
    assert.equal(scriptOf({ text: '#! /bin/sh -e', shell: 'auto' }), '#! /bin/sh -e');
    for (const text of ['#!', '#!not a path\necho', 'echo\n#!/bin/sh', ' #!/bin/sh'])
      assert.equal(scriptOf({ text, shell: 'auto' }), null, text);
    assert.match(String(argv('#!/bin/zsh', 'auto', '/bin/zsh')), /no \/bin\/zsh, which the first line/);
  });

  it('never gets the carriage returns of Windows, and keeps those within a line', () => {
    const text = (given: string): string => argv(given, 'sh').at(-1) ?? '';
    assert.equal(text('cd /tmp\r\nls\r\r\n\r\nx\r'), 'cd /tmp\nls\n\nx');
    assert.equal(text('printf "a\rb"\r\n'), 'printf "a\rb"\n');
    assert.equal(text('\uFEFFmake'), 'make');
  });
});

describe('the variables of a job', () => {
  const parts = {
    image: {},
    user: { name: 'root', home: '/home/job' },
    shell: '/bin/bash',
    defaults: { LANG: 'C.UTF-8', CI: 'true' },
    own: {},
  };

  it('are its own before its image’s before ours; who it is follows the user', () => {
    const env = environment({
      ...parts,
      image: { LANG: 'de_DE', HOME: '/root', USER: 'x', PATH: '/opt/bin:/bin', A: 'image' },
      user: { name: 'dev', home: '/home/job' },
      own: { A: 'own', CI: '' },
    });
    const expected = {
      ...{ SHELL: '/bin/bash', LANG: 'de_DE', CI: '', A: 'own' },
      ...{ HOME: '/home/job', USER: 'dev', LOGNAME: 'dev', PATH: '/home/job/.local/bin:/opt/bin:/bin' },
    };
    assert.deepEqual(env, expected);
    assert.equal(environment({ ...parts, own: { HOME: '/x', PATH: '/y' } })['HOME'], '/x');
    assert.equal(environment({ ...parts, own: { HOME: '/x', PATH: '/y' } })['PATH'], '/y');
    const elsewhere = environment({ ...parts, user: { name: 'dev', home: '/srv/dev' } });
    assert.deepEqual(
      [elsewhere['HOME'], elsewhere['PATH']?.split(':')[0]],
      ['/srv/dev', '/srv/dev/.local/bin'],
    );
  });
});

describe('a command in a container', () => {
  let podman: TestPodman;
  let bare: TestImage;
  before(async () => {
    [podman, bare] = await Promise.all([
      startTestPodman(),
      makeBareImage({ '/bin/tool': '#!/bin/sh\necho "tool $*"' }, ['ENTRYPOINT ["/bin/tool"]', 'ENV LANG=x']),
    ]);
  });
  after(async () => {
    await podman.end();
    await bare.remove();
  });

  const run = async (text: string, shell: ShellChoice = 'auto', image?: string, merge = false) => {
    const script = scriptOf({ text, shell });
    const files = runFilesMounts(script === null ? {} : { command: script });
    const spec = {
      ...testSpec({ ...(image === undefined ? {} : { image }), defaultEnv: { LANG: 'C.UTF-8', CI: 'true' } }),
      command: { text, shell, merge },
      mounts: [workMount(null, false), ...files],
    };
    await podman.runtime.ensureImage(spec.image, () => undefined, AbortSignal.timeout(5_000));
    const sandbox = await provision(podman.runtime, spec);
    try {
      await sandbox.bind(spec);
      await sandbox.start();
      const { output, state } = await finished(sandbox);
      return { output, exit: state.exitCode, ranBy: sandbox.ranBy };
    } finally {
      await disposeAll(podman.runtime);
    }
  };

  it('means in bash what people who write for bash mean', async () => {
    const text =
      'for i in {1..2}; do echo $i; done; [[ a == a ]] && echo yes; diff <(echo 1) <(echo 1) && echo same';
    const expected = { output: '1\n2\nyes\nsame\n', exit: 0, ranBy: 'bash -o pipefail' };
    assert.deepEqual(await run(text), expected);
    assert.equal((await run('false | cat')).exit, 1);
    const plain = await run('false | cat; echo {1..2}', 'sh');
    assert.deepEqual(plain, { output: '{1..2}\n', exit: 0, ranBy: 'sh' });
  });

  it('keeps its process, its exit codes and its leading dash', async () => {
    assert.match((await run('cat /proc/$PPID/comm')).output, /init|catatonit/);
    for (const [text, code] of [
      ['exit 7', 7],
      ['/etc/passwd', 126],
      ['nope', 127],
      ['kill -9 $$', 137],
    ] as const)
      assert.equal((await run(text)).exit, code, text);
    // Merged: two pipes have no order.
    assert.match((await run('-x; echo hi', 'auto', undefined, true)).output, /-x: command not found\nhi\n/);
  });

  it('can open its /dev/stdout and /dev/stderr, which are pipes, as any user, merged or not', async () => {
    const image = await makeImage(['USER 1234:1234']);
    const text =
      'set -e; [ -p /dev/stdout ]; [ -p /dev/stderr ]; echo a > /dev/stdout; echo b >> /dev/stdout; echo c | tee /dev/stderr';
    try {
      for (const name of [undefined, image.name])
        for (const merge of [false, true]) {
          const { output, exit } = await run(text, 'auto', name, merge);
          assert.deepEqual([output.split('\n').sort().join(' '), exit], [' a b c c', 0], `${name} ${merge}`);
        }
    } finally {
      await image.remove();
    }
  });

  it('is a script where its first line says so, with heredocs and arguments', async () => {
    const text = '#!/bin/bash -e\r\ncat <<EOF\r\na $0\r\nEOF\r\nfalse\r\necho not reached\r\n';
    const expected = { output: 'a /run/flashpods/command\n', exit: 1, ranBy: '#!/bin/bash -e' };
    assert.deepEqual(await run(text), expected);
    const perl = await run('#!/usr/bin/env perl\nprint "ok $$\\n" =~ s/\\d+/n/r;');
    assert.deepEqual(perl, { output: 'ok n\n', exit: 0, ranBy: '#!/usr/bin/env perl' });
    await assert.rejects(run('#!/no/such -x\n'), (error) => {
      assert.ok(error instanceof FlashpodsError);
      assert.equal(error.code, 'container_start_failed');
      assert.match(error.message, /has no \/no\/such, which the first line of the command names/);
      return true;
    });
  });

  it('runs in sh in an image without bash, the first time and later', async () => {
    for (let times = 0; times < 2; times += 1) {
      const { output, exit, ranBy } = await run('echo $SHELL $LANG $CI $USER; exit 3', 'auto', bare.name);
      assert.deepEqual({ output, exit, ranBy }, { output: '/bin/sh x true job\n', exit: 3, ranBy: 'sh' });
    }
    await assert.rejects(run('echo', 'bash', bare.name), /has no bash: leave `shell` out/);
  });

  it('is not needed by an image with a program of its own, nor by argv', async () => {
    for (const [command, output] of [
      [[], 'tool \n'],
      [['/bin/tool', 'a b'], 'tool a b\n'],
    ] as const) {
      const spec = { ...testSpec({ image: bare.name }), command };
      await podman.runtime.ensureImage(spec.image, () => undefined, AbortSignal.timeout(5_000));
      const sandbox = await provision(podman.runtime, spec);
      await sandbox.bind(spec);
      await sandbox.start();
      assert.equal((await finished(sandbox)).output, output);
      assert.equal(sandbox.ranBy, null);
      await sandbox.dispose();
    }
  });

  it('finds the named user of an image without bash by one container and the right map by the next', async () => {
    const image = await makeImage(['COPY passwd /etc/passwd', 'USER dev'], {
      passwd: 'root:x:0:0::/:/bin/sh\ndev:x:1234:1234::/:/bin/sh\n',
    });
    try {
      const { output } = await run('id -u; echo $USER; echo $PATH', 'auto', image.name);
      assert.match(output, /^1234\ndev\n\/home\/dev\/\.local\/bin:\//);
    } finally {
      await image.remove();
    }
  });
});
