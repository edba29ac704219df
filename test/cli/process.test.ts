import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { JOB, ScriptedJob } from './scripted-job.ts';

const COMMAND = new URL('../../bin/flashpods.ts', import.meta.url).pathname;
const COMPLETION = new URL('../../bin/complete.ts', import.meta.url).pathname;

describe('the flashpods command as a process', () => {
  let far: ScriptedJob;
  let scratch: string;

  beforeEach(async () => {
    far = new ScriptedJob();
    await far.server.start();
    scratch = await mkdtemp(join(tmpdir(), 'flashpods-cli-'));
  });
  afterEach(async () => {
    await far.server.stop();
    await rm(scratch, { recursive: true, force: true });
  });

  const environment = (): NodeJS.ProcessEnv => ({
    PATH: process.env['PATH'],
    HOME: scratch,
    FLASHPODS_URL: far.server.url,
    FLASHPODS_API_TOKEN: 'a-token-for-the-test',
  });

  interface Ended {
    readonly stdout: string;
    readonly stderr: string;
    readonly exitCode: number | null;
  }

  /** Ends with the child; a child that outlives its test would be a leak, so it is killed with it. */
  function launch(
    command: string,
    args: readonly string[],
  ): { child: ChildProcess; ended: Promise<Ended>; stdout: () => string } {
    const child = spawn(command, args, { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const ended = new Promise<Ended>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`${command} did not end; it said ${stdout}${stderr}`));
      }, 30_000);
      child.on('close', (exitCode) => {
        clearTimeout(timer);
        resolve({ stdout, stderr, exitCode });
      });
    });
    return { child, ended, stdout: () => stdout };
  }

  /** What a command loads. */
  async function loadedBy(...args: string[]): Promise<string> {
    const list = join(scratch, 'loaded');
    const hook = `import { registerHooks } from 'node:module'; import { appendFileSync } from 'node:fs';
      registerHooks({ load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context); } });`;
    const preload = `data:text/javascript,${encodeURIComponent(hook)}`;
    const { exitCode, stderr } = await launch(process.execPath, ['--import', preload, COMMAND, ...args])
      .ended;
    assert.equal(exitCode, 0, stderr);
    return readFile(list, 'utf8');
  }

  it('loads neither execa nor tar-stream for a job without files, and little of ours', async () => {
    far.end('completed', 0);
    const loaded = await loadedBy('run', '--', 'true');
    assert.match(loaded, /src\/cli\/attached-job\.ts/);
    assert.doesNotMatch(loaded, /node_modules\/(?!commander\/)|\/client\/upload\//);
    const modules = new Set(
      loaded
        .trim()
        .split('\n')
        .filter((url) => url.startsWith('file:')),
    );
    assert.ok(modules.size <= 70, [...modules].join('\n'));
  });

  it('loads neither Koa, knex, BullMQ, Redis nor SQLite for `ps`', async () => {
    const loaded = await loadedBy('ps');
    assert.match(loaded, /src\/cli\/commands\/ps\.ts/);
    assert.doesNotMatch(
      loaded,
      /node_modules\/(koa|@koa|knex|bullmq|ioredis|better-sqlite3|@modelcontextprotocol)\/|\/(api|queues|processors)\//,
    );
  });

  it('imports for completion little of ours, and nothing of Node that brings more with it', async () => {
    // The first call keeps what the program offers.
    await launch(process.execPath, [COMPLETION, 'logs', '']).ended;
    const list = join(scratch, 'imported');
    const hook = `import { registerHooks } from 'node:module';
      const { appendFileSync } = process.getBuiltinModule('node:fs');
      registerHooks({ resolve(name, context, next) {
        const found = next(name, context);
        if (context.parentURL?.startsWith('file:')) appendFileSync(${JSON.stringify(list)}, found.url + '\\n');
        return found;
      } });`;
    const preload = `data:text/javascript,${encodeURIComponent(hook)}`;
    const words = ['--import', preload, COMPLETION, 'logs', ''];
    const { stdout, stderr } = await launch(process.execPath, words).ended;
    assert.equal(stderr, '');
    assert.match(stdout, new RegExp(`^${JOB}\t`));
    const imported = [...new Set((await readFile(list, 'utf8')).trim().split('\n'))];
    const ofNode = imported.filter((url) => url.startsWith('node:')).sort();
    assert.deepEqual(ofNode, ['node:os', 'node:path', 'node:url']);
    assert.ok(imported.length - ofNode.length <= 24, imported.join('\n'));
  });

  it('cancels the job at the first Ctrl-C and exits with 130', async () => {
    far.become('running');
    far.print('working');
    const { child, ended, stdout } = launch(process.execPath, [COMMAND, 'run', '--', 'x']);
    await eventually('it follows', () => stdout() !== '');
    child.kill('SIGINT');
    const { exitCode } = await ended;
    assert.equal(exitCode, 130);
    assert.equal(far.requests('DELETE', `/jobs/${JOB}`).length, 1);
  });

  it('goes on with its job when its terminal closes', async () => {
    far.become('running');
    far.print('working');
    const { child, ended, stdout } = launch(process.execPath, [COMMAND, 'run', '--', 'x']);
    await eventually('it follows', () => stdout() !== '');
    child.kill('SIGHUP');
    far.print('still there');
    await eventually('it still follows', () => stdout().includes('still there'));
    far.end('failed', 7);
    assert.equal((await ended).exitCode, 7);
    assert.deepEqual(far.requests('DELETE', '/'), []);
  });

  it('ends in silence when the reader of its output is gone', async () => {
    for (let line = 0; line < 20_000; line += 1) far.print(`line ${line}`);
    far.end('completed', 0);
    const script = `"$0" "$1" logs ${JOB} | head -n 1; exit "\${PIPESTATUS[0]}"`;
    const { stdout, stderr, exitCode } = await launch('bash', ['-c', script, process.execPath, COMMAND])
      .ended;
    assert.deepEqual([stdout, stderr, exitCode], ['line 0\n', '', 0]);
  });

  for (const args of ['--version', '--help', 'ps -a']) {
    it(`says on the other stream that the output of \`${args}\` can't be written`, async () => {
      const script = `"$0" "$1" ${args} >/dev/full`;
      const { stderr, exitCode } = await launch('bash', ['-c', script, process.execPath, COMMAND]).ended;
      assert.deepEqual([stderr, exitCode], ["flashpods: stdout can't be written (ENOSPC).\n", 1]);
    });
  }

  it('ends at Ctrl-C although nobody reads its output', async () => {
    for (let line = 0; line < 100_000; line += 1) far.print(`line ${line}`);
    const { child, ended } = launch(process.execPath, [COMMAND, 'logs', '-f', JOB]);
    await new Promise<void>((resolve) => {
      child.stdout?.once('data', () => {
        child.stdout?.pause();
        resolve();
      });
    });
    child.kill('SIGINT');
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 130);
    child.stdout?.resume();
    await ended;
  });

  it('writes all of its output to a slow pipe before it ends', async () => {
    for (let line = 0; line < 20_000; line += 1) far.print(`line ${line}`);
    far.end('completed', 0);
    const { stdout } = await launch('bash', [
      '-c',
      `"$0" "$1" run -- x | (sleep 0.3; wc -l)`,
      process.execPath,
      COMMAND,
    ]).ended;
    assert.equal(stdout.trim(), '20000');
  });
});
