import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { finished } from './console.ts';
import { JOB, ScriptedJob } from './scripted-job.ts';

const ESC = '\u001b';

describe('flashpods ps, wait, logs, kill and artifacts', () => {
  let far: ScriptedJob;

  beforeEach(async () => {
    far = new ScriptedJob();
    await far.server.start();
  });
  afterEach(() => far.server.stop());

  const flashpods = (...args: string[]) => finished(args, { env: { FLASHPODS_URL: far.server.url } });
  const onTerminal = (env: Record<string, string> = {}) =>
    finished(['ps'], { env: { FLASHPODS_URL: far.server.url, ...env }, terminal: true });

  it('lists jobs as a table', async () => {
    far.end('failed', 3, { command: 'make test', host: 'a-host', duration_seconds: 65 });
    const { stdout, exitCode } = await flashpods('ps', '-a');
    assert.equal(exitCode, 0);
    assert.deepEqual(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/ {2,}/)),
      [
        ['ID', 'STATUS', 'COMMAND', 'CPUS', 'MEMORY', 'AGE', 'DURATION', 'EXIT', 'HOST'],
        [JOB, 'failed', 'make test', '2', '4 GB', '0s', '1 min 05 s', '3', 'a-host'],
      ],
    );
  });

  it('asks for active jobs unless told otherwise', async () => {
    await flashpods('ps');
    await flashpods('ps', '-a', '--limit', '7');
    await flashpods('ps', '--status', 'failed', '--label', 'suite=nightly');
    assert.deepEqual(
      far.server.seen.map(({ path }) => path),
      [
        '/jobs?status=hosted&order=turn&limit=20',
        '/jobs?status=waiting&order=turn&limit=20',
        '/jobs?status=all&limit=7',
        '/jobs?status=failed&label=suite%3Anightly&limit=20',
      ],
    );
  });

  it('lets no escape sequence or control character of a job reach the terminal', async () => {
    const nasty = `a${ESC}[2Jb${ESC}]0;title\u0007c\rd\ne\u009b31mf\u202eg\u0000h`;
    far.become('queued', { command: nasty, waiting_reason: nasty, host: nasty, labels: { name: nasty } });
    const { stdout } = await onTerminal({ NO_COLOR: '1' });
    assert.ok(stdout.includes(JOB));
    assert.ok(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/.test(stdout), JSON.stringify(stdout));
    assert.ok(stdout.includes('abc d ef'), stdout);
    assert.equal(stdout.trim().split('\n').length, 3, stdout);
  });

  it('colours on a terminal only, and not with NO_COLOR', async () => {
    assert.ok((await onTerminal()).stdout.includes(`${ESC}[33mqueued`));
    assert.ok(!(await onTerminal({ NO_COLOR: '1' })).stdout.includes(ESC));
    assert.ok(!(await flashpods('ps')).stdout.includes(ESC));
  });

  it('prints the jobs as JSON', async () => {
    const { stdout } = await flashpods('ps', '--json');
    assert.equal((JSON.parse(stdout) as { jobs: { id: string }[] }).jobs[0]?.id, JOB);
  });

  it('finds a job by the beginning of its id, or its name, and names the candidates', async () => {
    far.become('queued', { labels: { name: 'nightly' } });
    for (const wanted of ['job_aaa', 'aaa', 'nightly', JOB]) {
      const { stdout } = await flashpods('show', wanted, '--json');
      assert.equal((JSON.parse(stdout) as { id: string }).id, JOB);
    }
    far.others = [{ ...far.job, id: 'job_aaabbbbbbbbb' }];
    for (const wanted of ['job_aaa', 'nightly']) {
      const { stderr, exitCode } = await flashpods('kill', wanted);
      assert.equal(exitCode, 1);
      assert.match(stderr, /^flashpods: ambiguous_job: .*job_aaaaaaaaaaaa \(queued, .*job_aaabbbbbbbbb/);
    }
    assert.deepEqual(far.requests('DELETE', '/'), []);
  });

  it('shows all that is known of a job', async () => {
    far.end('failed', 3, {
      owner: 'builds',
      error_lines: ['7: no such file'],
      notes: ['lowered'],
      host: 'alpha',
    });
    const { stdout, exitCode } = await flashpods('show', JOB);
    assert.equal(exitCode, 0);
    assert.match(stdout, new RegExp(`^${JOB}  failed\n`));
    for (const line of [
      'owner +builds',
      'ended +failed · exit 3',
      'log says +7: no such file',
      'host +alpha',
      'note +lowered',
    ])
      assert.match(stdout, new RegExp(`\n${line}`));
  });

  it('waits for the end of a job and exits with its code', async () => {
    const waiting = flashpods('wait', JOB);
    far.end('failed', 9);
    assert.equal((await waiting).exitCode, 9);
  });

  it('gives up waiting with 124, soon after its time', async () => {
    const began = performance.now();
    const { stderr, exitCode } = await flashpods('wait', '--timeout', '0.3', JOB);
    assert.equal(exitCode, 124);
    assert.match(stderr, /poll_timeout: job_a+ is still queued/);
    assert.ok(performance.now() - began < 3_000);
  });

  it('prints a log, or its last lines, without waiting for the end', async () => {
    far.become('running');
    for (const text of ['one', 'two', 'three']) far.print(text);
    assert.equal((await flashpods('logs', JOB)).stdout, 'one\ntwo\nthree\n');
    assert.equal((await flashpods('logs', '--tail', '1', '-t', JOB)).stdout, '[10:20:30.456] three\n');
  });

  it('follows a log to its end with exit code 0, regardless of the job’s', async () => {
    far.print('one');
    const following = flashpods('logs', '-f', '--tail', '5', JOB);
    far.end('failed', 9);
    const { stdout, exitCode } = await following;
    assert.deepEqual([stdout, exitCode], ['one\n', 0]);
  });

  it('says with 4 that nothing has been captured yet', async () => {
    const { stderr, exitCode } = await flashpods('logs', JOB);
    assert.equal(exitCode, 4);
    assert.match(stderr, /logs_not_available/);
  });

  it('cancels every job that is named, also after one that can’t be', async () => {
    const { stdout, exitCode } = await flashpods('kill', JOB, JOB);
    assert.equal(exitCode, 0);
    assert.equal(stdout, `${JOB} cancellation requested\n`.repeat(2));
  });

  it('wants either jobs or a label to kill', async () => {
    assert.equal((await flashpods('kill')).exitCode, 2);
    assert.equal((await flashpods('kill', JOB, '--label', 'a=b')).exitCode, 2);
    assert.deepEqual(far.server.seen, []);
  });

  it('lists artifacts', async () => {
    far.artifacts = { 'a/b': 'content' };
    const { stdout } = await flashpods('artifacts', JOB);
    assert.match(stdout, /^NAME +SIZE +SHA-256\na\/b +7 B +ed7002b439e9\n$/);
  });

  it('prints one artifact’s path once it is there, and says which it does not know', async () => {
    const { stderr, exitCode } = await flashpods('artifacts', 'get', JOB, 'missing');
    assert.equal(exitCode, 4);
    assert.match(stderr, /artifact_not_found/);
  });

  it('fetches all artifacts, keeps a file that is there, and says so', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'flashpods-get-'));
    far.artifacts = { 'a/b': 'inner', mine: 'theirs', top: 'top' };
    await writeFile(join(directory, 'mine'), 'mine');
    const { stdout, stderr, exitCode } = await flashpods('artifacts', 'get', JOB, '-o', directory);
    assert.equal(stdout, `${join(directory, 'a/b')}\n${join(directory, 'top')}\n`);
    assert.match(stderr, /file_exists: .*mine exists already/);
    assert.equal(exitCode, 1);
    assert.equal(await readFile(join(directory, 'a/b'), 'utf8'), 'inner');
    assert.equal(await readFile(join(directory, 'mine'), 'utf8'), 'mine');
    const forced = await flashpods('artifacts', 'get', JOB, 'mine', 'top', '-o', directory, '--force');
    assert.equal(forced.exitCode, 0);
    assert.equal(await readFile(join(directory, 'mine'), 'utf8'), 'theirs');
    await rm(directory, { recursive: true });
  });

  for (const [args, code] of [
    [['nonsense'], 2],
    [['ps', '--nonsense'], 2],
    [['run'], 125],
    [['run', '--cpus', '0', '--', 'x'], 125],
    [['run', '--cpus', '1.5', '--', 'x'], 125],
    [['wait', '--timeout', 'soon', JOB], 125],
    [['wait', 'job_unknown'], 125],
    [['rerun', '-tf', 'job_unknown', '--nonsense'], 125],
    [['rerun', 'job_unknown', '--nonsense'], 2],
  ] as const) {
    it(`ends with ${code} for \`flashpods ${args.join(' ')}\``, async () => {
      const { stderr, exitCode } = await flashpods(...args);
      assert.equal(exitCode, code);
      assert.match(stderr, /^flashpods: /);
    });
  }

  it('tells a mistake in the usage as JSON when JSON was asked for', async () => {
    for (const [args, message] of [
      [['ps', '--json', '--al'], /unknown option '--al' \(Did you mean --all\?\)/],
      [['--json', 'psx'], /unknown command 'psx' \(Did you mean ps\?\)/],
      [['--json'], /A command is missing/],
    ] as const) {
      const { stdout, stderr, exitCode } = await flashpods(...args);
      assert.deepEqual([stdout, exitCode], ['', 2]);
      const error = JSON.parse(stderr) as Record<string, string>;
      assert.equal(error['error'], 'invalid_arguments');
      assert.match(error['message'] ?? '', message);
      assert.notEqual(error['advice'], '');
    }
  });

  it('leaves --json after -- to the command of the job', async () => {
    const { stderr, exitCode } = await flashpods('run', '--nonsense', '--', 'x', '--json');
    assert.equal(exitCode, 125);
    assert.match(stderr, /^flashpods: unknown option/);
  });

  it('ends with 0 for help and version', async () => {
    for (const args of [['--help'], ['run', '--help'], ['help', 'ps'], ['--version']]) {
      const { stdout, exitCode } = await flashpods(...args);
      assert.equal(exitCode, 0);
      assert.notEqual(stdout, '');
    }
  });
});
