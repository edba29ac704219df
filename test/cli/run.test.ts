import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { finished, type Running, start } from './console.ts';
import { JOB, ScriptedJob } from './scripted-job.ts';

describe('flashpods run', () => {
  let far: ScriptedJob;
  let scratch: string;

  beforeEach(async () => {
    far = new ScriptedJob();
    await far.server.start();
    scratch = await mkdtemp(join(tmpdir(), 'flashpods-run-'));
  });
  afterEach(async () => {
    await far.server.stop();
    await rm(scratch, { recursive: true, force: true });
  });

  const env = (): Record<string, string> => ({ FLASHPODS_URL: far.server.url });
  const run = (...args: string[]): Running => start(['run', ...args], { env: env() });
  const created = (): Record<string, unknown> =>
    JSON.parse(far.requests('POST', '/jobs')[0]?.body ?? '{}') as Record<string, unknown>;

  it('sends what its options say, and the command after --', async () => {
    const options =
      '--image debian:12 --cpus 3 --memory 6g --timeout 2h --env A=b=c -e D= --network none --priority 2';
    const more =
      '--label x=y --name nightly --when-busy reject --max-queue 5m --read-only-work --root --detach';
    const running = run(...options.split(' '), ...more.split(' '), '--', 'echo', 'two words', '--cpus', '9');
    assert.equal(await running.exitCode, 0);
    assert.equal(running.stdout(), `${JOB}\n`);
    const { client_job_id: key, ...rest } = created();
    assert.equal(typeof key, 'string');
    assert.deepEqual(rest, {
      type: 'worker',
      command: "echo 'two words' --cpus 9",
      image: 'debian:12',
      cpus: 3,
      memory_gb: 6,
      timeout_minutes: 120,
      env: { A: 'b=c', D: '' },
      network: 'none',
      priority: 2,
      labels: { x: 'y', name: 'nightly' },
      when_busy: 'reject',
      max_queue_seconds: 300,
      writable: false,
      root: true,
    });
  });

  it('says at once that nothing listens on this machine, and ends with a code that is no job’s', async () => {
    const options = { env: env() };
    await far.server.stop();
    const { stderr, exitCode } = await finished(['run', '--', 'x'], options);
    assert.equal(exitCode, 125);
    assert.match(stderr, /^flashpods: not_reachable: .*connection refused\.\n.*\n$/);
    await far.server.start();
  });

  it('tells a silent job with its id and a clock, in place on a terminal and as a line elsewhere', async () => {
    const [piped, shown] = [run('--', 'x'), start(['run', '--', 'x'], { env: env(), terminal: true })];
    far.become('running', { host: 'alpha' });
    await eventually('it is told', () => piped.stderr().includes(`${JOB} running on alpha for`));
    await eventually('the clock goes on', () => /running on alpha for [2-9]/.test(shown.stderr()));
    far.print('text');
    await eventually('it is printed', () => shown.stdout() !== '');
    far.end('completed', 0);
    await Promise.all([piped.exitCode, shown.exitCode]);
    assert.equal(piped.stderr().split('no output yet').length, 2);
    assert.equal(piped.stdout(), 'text\n');
  });

  it('leaves options after the command to the command, also without --', async () => {
    await run('--detach', 'make', '-j4', '--json').exitCode;
    assert.equal(created()['command'], 'make -j4 --json');
  });

  it('prints stdout and stderr where they belong, without stamps, and exits with the code of the job', async () => {
    const running = run('--', 'x');
    far.become('running');
    far.print('pulled', 'system');
    far.print('first');
    await eventually('the first line is printed', () => running.stdout() === 'first\n');
    far.print('oops', 'stderr');
    far.print('a long ', 'stdout', { partial: true });
    far.print('line');
    far.end('failed', 7);
    assert.equal(await running.exitCode, 7);
    assert.equal(running.stdout(), 'first\na long line\n');
    assert.match(
      running.stderr(),
      /^pulled\noops\nflashpods: job_a+ failed · exit 7 · 1\.5 s · no artifacts\n$/,
    );
  });

  it('shows the time of each line when asked', async () => {
    const running = run('--timestamps', '--', 'x');
    far.print('text');
    far.end('completed', 0);
    assert.equal(await running.exitCode, 0);
    assert.equal(running.stdout(), '[10:20:30.456] text\n');
  });

  it('shows a line at the next look after the API has it', async () => {
    const running = run('--', 'x');
    far.become('running');
    far.print('first');
    await eventually('it follows', () => running.stdout() !== '');
    // Quiet for a while: the pause between two looks has grown to its longest.
    const polls = (): number => far.requests('GET', `/jobs/${JOB}/output`).length;
    const before = polls();
    await eventually('it has looked often in vain', () => polls() > before + 10);
    const looks = polls();
    far.print('second');
    await eventually('it is shown', () => running.stdout().includes('second'), { everyMs: 2 });
    // The one that brings it, and those that were under way while we looked at what was shown.
    assert.ok(polls() - looks <= 3, `${polls() - looks} looks`);
    far.end('completed', 0);
    await running.exitCode;
  });

  it('does not hammer the API while the job is quiet', async () => {
    const running = run('--', 'x');
    far.become('running');
    far.print('first');
    const looks = (): number[] => far.requests('GET', `/jobs/${JOB}/output`).map(({ atMs }) => atMs);
    await eventually('it has looked often', () => looks().length > 20);
    far.end('completed', 0);
    await running.exitCode;
    const gaps = looks()
      .slice(11, 20)
      .map((at, index) => at - (looks()[index + 10] ?? 0));
    assert.ok(Math.min(...gaps) >= 100, `pauses of ${gaps.map(Math.round).join(', ')} ms`);
  });

  for (const [status, exitCode, code] of [
    ['completed', 0, 0],
    ['failed', 127, 127],
    ['failed', null, 125],
    ['failed', 0, 125],
    ['cleaned', null, 125],
    ['timed_out', 143, 124],
    ['cancelled', 137, 130],
  ] as const) {
    it(`exits with ${code} when the job is ${status} with ${exitCode}`, async () => {
      const running = run('--', 'x');
      far.end(status, exitCode);
      assert.equal(await running.exitCode, code);
      assert.match(running.stderr(), new RegExp(`${JOB} ${status}`));
    });
  }

  it('tells code, advice and request id when it is refused', async () => {
    const { stderr, exitCode } = await finished(['logs', 'job_unknown'], { env: env() });
    assert.equal(exitCode, 4);
    assert.equal(
      stderr,
      'flashpods: job_not_found: it was job_not_found\n  `flashpods ps -a` lists the jobs.\n  request req-1\n',
    );
  });

  for (const command of [
    'wait',
    'kill',
    'logs',
    'rerun',
    'artifacts',
    'artifacts get',
    'drain',
    'undrain',
    'tenant show',
    'tenant set',
    'tenant unset',
    'token create --owner x',
    'token revoke',
  ]) {
    it(`refuses an empty argument of ${command}`, async () => {
      const { stderr, exitCode } = await finished([...command.split(' '), ''], { env: env() });
      assert.equal(exitCode, command === 'wait' ? 125 : 2);
      assert.match(stderr, /must not be empty/);
      assert.equal(far.server.seen.length, 0);
    });
  }

  it('writes JSON and nothing else to stderr with --json', async () => {
    far.onCancel = () => far.end('cancelled', null, { warnings: ['mind this'] });
    const running = run('--json', '--', 'x');
    await eventually('it follows', () => running.stdout().includes('"state"'));
    running.interrupt();
    assert.equal(await running.exitCode, 130);
    const lines = running.stderr().trim().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line) as unknown),
      [{ notice: `cancelling ${JOB}; press Ctrl-C again to stop waiting` }, { notice: 'mind this' }],
    );
  });

  describe('Ctrl-C', () => {
    it('cancels the job once and waits for its end', async () => {
      far.onCancel = () => undefined;
      const running = run('--', 'x');
      far.become('running');
      far.print('working');
      await eventually('it follows', () => running.stdout() !== '');
      running.interrupt();
      await eventually('the API is asked', () => far.requests('DELETE', `/jobs/${JOB}`).length === 1);
      far.print('cleaning up');
      far.end('cancelled', 143);
      assert.equal(await running.exitCode, 130);
      assert.equal(running.stdout(), 'working\ncleaning up\n');
      assert.match(running.stderr(), /cancelling job_a+; press Ctrl-C again to stop waiting/);
    });

    it('gives the job’s own code when it ended by itself after all', async () => {
      far.onCancel = () => far.end('failed', 3);
      const running = run('--', 'x');
      far.become('running');
      far.print('working');
      await eventually('it follows', () => running.stdout() !== '');
      running.interrupt();
      assert.equal(await running.exitCode, 3);
    });

    it('leaves the job to itself the second time', async () => {
      far.onCancel = () => undefined;
      const running = run('--', 'x');
      far.become('running');
      far.print('working');
      await eventually('it follows', () => running.stdout() !== '');
      running.interrupt();
      running.interrupt();
      assert.equal(await running.exitCode, 130);
      assert.match(running.stderr(), /is being cancelled; nobody waits for it/);
      assert.equal(far.job.status, 'running');
    });

    for (const args of [
      ['run', '--detach', '--', 'x'],
      ['rerun', JOB],
    ]) {
      it(`cancels the job of \`${args.join(' ')}\` that is created meanwhile`, async () => {
        const creation = Promise.withResolvers<() => void>();
        far.onCreate = creation.resolve;
        const running = start(args, { env: env() });
        const answer = await creation.promise;
        running.interrupt();
        answer();
        assert.equal(await running.exitCode, 130);
        assert.equal(far.requests('DELETE', `/jobs/${JOB}`).length, 1);
        assert.equal(running.stdout(), '');
        assert.match(running.stderr(), /stopping; press Ctrl-C again to exit at once[^]*it is cancelled/);
      });

      it(`ends the tries of \`${args.join(' ')}\` while the server is busy`, async () => {
        far.isBusy = true;
        const running = start(args, { env: env() });
        await eventually('it will try again', () => running.stderr().includes('Next try in'));
        const tries = running.stderr().split('Next try in').length;
        running.interrupt();
        assert.equal(await running.exitCode, 130);
        assert.equal(running.stderr().split('Next try in').length, tries);
      });
    }

    it('ends a command that only looks', async () => {
      far.become('running');
      far.print('line');
      const running = start(['logs', '-f', JOB], { env: env() });
      await eventually('it follows', () => running.stdout() !== '');
      running.interrupt();
      assert.equal(await running.exitCode, 130);
      assert.deepEqual(far.requests('DELETE', '/'), []);
    });
  });

  describe('--artifacts', () => {
    const out = (): string => join(scratch, 'out');

    it('fetches what the job left, regardless of its exit code', async () => {
      far.artifacts = { 'report.txt': 'report', 'deep/er/log': 'log' };
      const running = run('--artifacts', out(), '--', 'x');
      far.end('failed', 2);
      assert.equal(await running.exitCode, 2);
      assert.equal(await readFile(join(out(), 'deep/er/log'), 'utf8'), 'log');
      assert.match(running.stderr(), /2 artifacts, 9 B, in .*out\n$/);
    });

    it('makes no job when they could not be stored', async () => {
      const file = join(scratch, 'afile');
      await writeFile(file, 'mine');
      for (const path of [file, join(file, 'x'), '/proc/nope', '/proc/nope/x']) {
        for (const args of [
          ['run', '--artifacts', path, '--', 'x'],
          ['rerun', '-f', '--artifacts', path, JOB],
        ]) {
          const { stderr, exitCode } = await finished(args, { env: env() });
          assert.equal(exitCode, 125);
          assert.match(
            stderr,
            /^flashpods: download_failed: .* can't be written \(E\w+\)\.\n {2}Check the path/,
          );
          assert.doesNotMatch(stderr, /\n {4}at /);
        }
      }
      assert.equal(far.requests('POST', '/jobs').length, 0);
    });

    it('exits with the code of the job also when they can’t be stored any more', async () => {
      far.artifacts = { 'report.txt': 'report' };
      const running = run('--artifacts', out(), '--', 'x');
      await eventually('it is created', () => far.requests('POST', '/jobs').length > 0);
      await rm(out(), { recursive: true });
      await writeFile(out(), '');
      far.end('failed', 3);
      assert.equal(await running.exitCode, 3);
      assert.match(running.stderr(), /download_failed: .*out can't be written \(EEXIST\)/);
    });

    it('are refused where nobody stays with the job', async () => {
      for (const args of [
        ['run', '--detach', '--artifacts', out(), '--', 'x'],
        ['run', '--detach', '--force', '--', 'x'],
        ['rerun', '--artifacts', out(), JOB],
        ['rerun', '-t', JOB],
      ]) {
        const { stderr, exitCode } = await finished(args, { env: env() });
        assert.equal(exitCode, args[0] === 'run' ? 125 : 2);
        assert.match(
          stderr,
          /invalid_arguments: With.*nobody stays with the job: --\w+ would have no effect/,
        );
      }
      assert.equal(far.server.seen.length, 0);
    });

    it('keeps a file that is there, fetches the others and fails', async () => {
      far.artifacts = { 'report.txt': 'report', other: 'other' };
      await writeFile(join(scratch, 'report.txt'), 'mine');
      const running = run('--artifacts', scratch, '--', 'x');
      far.end('completed', 0);
      assert.equal(await running.exitCode, 125);
      assert.match(running.stderr(), /file_exists: .*report\.txt exists already/);
      assert.match(running.stderr(), /1 of 2 artifacts/);
      assert.equal(await readFile(join(scratch, 'report.txt'), 'utf8'), 'mine');
      assert.equal(await readFile(join(scratch, 'other'), 'utf8'), 'other');
    });

    it('replaces what it fetched itself, and never what somebody has changed since', async () => {
      const options = { env: { ...env(), XDG_CACHE_HOME: join(scratch, 'cache') } };
      const again = async (): Promise<Running> => {
        const running = start(['run', '--artifacts', out(), '--', 'x'], options);
        far.end('completed', 0);
        await running.exitCode;
        return running;
      };
      far.artifacts = { 'a/report': 'one', other: 'one' };
      await again();
      far.artifacts = { 'a/report': 'two', other: 'two' };
      const second = await again();
      assert.deepEqual([await second.exitCode, second.stderr().includes('file_exists')], [0, false]);
      assert.equal(await readFile(join(out(), 'a/report'), 'utf8'), 'two');
      await writeFile(join(out(), 'other'), 'mine');
      far.artifacts = { 'a/report': 'three', other: 'three' };
      const third = await again();
      assert.equal(await third.exitCode, 125);
      assert.match(third.stderr(), /file_exists: .*other exists already/);
      assert.equal(await readFile(join(out(), 'a/report'), 'utf8'), 'three');
      assert.equal(await readFile(join(out(), 'other'), 'utf8'), 'mine');
    });

    it('overwrites with --force', async () => {
      far.artifacts = { 'report.txt': 'report' };
      await writeFile(join(scratch, 'report.txt'), 'mine');
      const running = run('--artifacts', scratch, '--force', '--', 'x');
      far.end('completed', 0);
      assert.equal(await running.exitCode, 0);
      assert.equal(await readFile(join(scratch, 'report.txt'), 'utf8'), 'report');
    });

    it('never leaves the directory, and says what a hostile server tried', async () => {
      far.artifacts = { '../escaped': 'evil', 'x\u001b]0;evil\u0007/../../escaped': 'evil' };
      const running = run('--artifacts', out(), '--force', '--', 'x');
      far.end('completed', 0);
      assert.equal(await running.exitCode, 125);
      assert.match(running.stderr(), /unsafe_artifact_name/);
      assert.ok(!running.stderr().includes('\u001b'));
      assert.deepEqual(
        (await readdir(scratch)).filter((name) => name !== 'out'),
        [],
      );
    });
  });

  describe('artifacts get', () => {
    const get = (...args: string[]): ReturnType<typeof finished> =>
      finished(['artifacts', 'get', JOB, ...args], { env: env() });
    beforeEach(() => {
      far.artifacts = { 'a/x': 'content' };
    });

    it('makes the directory that ends with a slash', async () => {
      const { stdout, exitCode } = await get('a/x', '-o', `${join(scratch, 'new/directory')}/`);
      assert.deepEqual([stdout, exitCode], [`${join(scratch, 'new/directory/x')}\n`, 0]);
      assert.equal(await readFile(join(scratch, 'new/directory/x'), 'utf8'), 'content');
    });

    it('says which path a file is in the way of', async () => {
      const file = join(scratch, 'afile');
      await writeFile(file, 'mine');
      for (const args of [
        ['-o', file],
        ['-o', join(file, 'x')],
        ['a/x', '-o', join(file, 'x/y')],
        ['a/x', '-o', `${file}/`],
      ]) {
        const { stderr, exitCode } = await get(...args);
        assert.equal(exitCode, 1);
        assert.match(
          stderr,
          /^flashpods: download_failed: \S+ can't be written \(E(EXIST|NOTDIR)\)\.\n {2}Check/,
        );
        assert.doesNotMatch(stderr, /\n {4}at /);
      }
      assert.equal(await readFile(file, 'utf8'), 'mine');
    });
  });

  it('prints one JSON object a line with --json', async () => {
    const running = run('--json', '--', 'x');
    far.become('running');
    far.print('text');
    await eventually('it follows', () => running.stdout().includes('"log"'));
    far.end('completed', 0);
    assert.equal(await running.exitCode, 0);
    const events = running
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(events[0]?.['event'], 'created');
    assert.deepEqual(events.at(-1)?.['exit_code'], 0);
    assert.equal(events.find(({ event }) => event === 'log')?.['text'], 'text');
    assert.equal(running.stderr(), '');
  });

  it('shows place and reason of a waiting job on a terminal, and nothing of that in a pipe', async () => {
    const waiting = { queue_position: 3, waiting_reason: 'no host has 2 cpus free' };
    far.become('queued', waiting);
    const [piped, shown] = [run('--', 'x'), start(['run', '--', 'x'], { env: env(), terminal: true })];
    await eventually('it is explained', () =>
      shown.stderr().includes('queued · position 3 · no host has 2 cpus free'),
    );
    far.end('completed', 0);
    await Promise.all([piped.exitCode, shown.exitCode]);
    assert.ok(!piped.stderr().includes('\u001b'));
    assert.ok(!piped.stderr().includes('position'));
  });
});
