import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { JOB, ScriptedJob } from './scripted-job.ts';

const COMMAND = new URL('../../bin/flashpods.ts', import.meta.url).pathname;

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

  it('loads neither Koa, knex, BullMQ, Redis nor SQLite for `ps`', async () => {
    const list = join(scratch, 'loaded');
    const hook = `import { registerHooks } from 'node:module'; import { appendFileSync } from 'node:fs';
      registerHooks({ load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context); } });`;
    const preload = `data:text/javascript,${encodeURIComponent(hook)}`;
    const { exitCode, stderr } = await launch(process.execPath, ['--import', preload, COMMAND, 'ps']).ended;
    assert.deepEqual([exitCode, stderr], [0, '']);
    const loaded = await readFile(list, 'utf8');
    assert.match(loaded, /src\/cli\/commands\/ps\.ts/);
    assert.doesNotMatch(
      loaded,
      /node_modules\/(koa|@koa|knex|bullmq|ioredis|better-sqlite3|@modelcontextprotocol)\/|\/(api|queues|processors)\//,
    );
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

  it('ends in silence when the reader of its output is gone', async () => {
    for (let line = 0; line < 20_000; line += 1) far.print(`line ${line}`);
    far.end('completed', 0);
    const script = `"$0" "$1" logs ${JOB} | head -n 1; exit "\${PIPESTATUS[0]}"`;
    const { stdout, stderr, exitCode } = await launch('bash', ['-c', script, process.execPath, COMMAND])
      .ended;
    assert.deepEqual([stdout, stderr, exitCode], ['line 0\n', '', 0]);
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
