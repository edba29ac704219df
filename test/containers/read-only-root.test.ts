import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { finished, launch, runToEnd, startTestPodman, type TestPodman } from '../support/podman.ts';

describe('a job on a host that has no writable roots for jobs', () => {
  let podman: TestPodman;
  let directory: string;
  let work: string;
  before(async () => {
    podman = await startTestPodman({ root: 'read-only' });
    directory = mkdtempSync(join(tmpdir(), 'fp-read-only-'));
    work = join(directory, 'work');
    mkdirSync(work);
    writeFileSync(join(work, 'f'), 'old\n');
    chmodSync(directory, 0o755);
    // As uploads are stored.
    for (const path of [work, join(work, 'f')]) chownSync(path, 1_000_000, 1_000_000);
  });
  after(async () => {
    await podman.end();
    rmSync(directory, { recursive: true });
  });

  const WRITE = `for place in /tmp /var/tmp "$HOME" /artifacts /work /usr/local /etc; do
    (echo x > $place/written) 2>/dev/null && echo "$place"; done`;

  it('is told so', () => {
    assert.equal(podman.runtime.facts.root, 'read-only');
    assert.match(
      podman.runtime.facts.notes.join('\n'),
      /root file system of a job is read-only.*switched off/,
    );
  });

  it('is the ordinary user job, at home in /home/job, and owns its /work', async () => {
    const script = `id -un; id -u; echo $HOME $USER $PWD; ${WRITE}; cat f; echo new > f; git init -q . && git status --short | head -1`;
    const { output } = await runToEnd(podman.runtime, { workDir: work, workReadOnly: false, script });
    assert.equal(
      output,
      'job\n1000\n/home/job job /work\n/tmp\n/var/tmp\n/home/job\n/artifacts\n/work\nold\n?? f\n',
    );
    assert.equal(readFileSync(join(work, 'f'), 'utf8'), 'old\n', 'the upload keeps what it had');
  });

  it('reads a /work that it did not ask to write to', async () => {
    const { output } = await runToEnd(podman.runtime, { workDir: work, script: `cat f; ${WRITE}` });
    assert.equal(output, 'old\n/tmp\n/var/tmp\n/home/job\n/artifacts\n');
  });

  it('is root of its container when it asks for that, and can write no more', async () => {
    const script = `id -u; echo $HOME $USER; ${WRITE}; grep CapEff /proc/self/status`;
    const { output } = await runToEnd(podman.runtime, {
      root: true,
      workDir: work,
      workReadOnly: false,
      script,
    });
    assert.match(
      output,
      /^0\n\S+ root\n\/tmp\n\/var\/tmp\n\S+\n\/artifacts\n\/work\nCapEff:\s*0+a00405fb\n$/,
    );
  });

  it('leaves what it made in /work where artifacts are collected from', async () => {
    for (const workReadOnly of [false, true]) {
      const sandbox = await launch(podman.runtime, {
        workDir: work,
        workReadOnly,
        script: 'echo new > made',
      });
      await finished(sandbox);
      assert.deepEqual(readdirSync(await sandbox.workPath()), workReadOnly ? ['f'] : ['f', 'made']);
      await sandbox.dispose();
    }
  });

  it('is ended with its disk full, and has its artifacts', async () => {
    const { verdict } = await runToEnd(podman.runtime, {
      script: 'head -c 100000000 /dev/zero > /tmp/big; false',
    });
    assert.equal(verdict.diskFull, true);
  });
});
