/**
 * How long the command takes to begin: `--version`, completion with the ids of jobs, and beside them Node alone, in turn,
 * so that other load on the machine falls on all. And how long a project of 5,000 files takes to be sent once
 * more with one change.
 *
 *   node bench/cli.ts [CALLS]      calls of each, 1,000 unless given; `--check` fails beyond the aims
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connectionTo } from '../test/client/wire-server.ts';
import { FlashpodsClient } from '../src/client/client.ts';
import { uploadDirectory } from '../src/client/upload/directory.ts';
import { startApi } from '../test/api/running-api.ts';
import { percentile } from './measure.ts';

const AIMS = { versionMs: 150, completionMs: 100, resendMs: 1_000 } as const;
const FILES = 5_000;
const ROUNDS = 10;
/** It is not what a small change takes; a few times tell how it compares. */
const RSYNC_ROUNDS = 3;
const LAUNCHER = fileURLToPath(new URL('../flashpods', import.meta.url));
const run = promisify(execFile);

const out = (text: string): void => void process.stdout.write(`${text}\n`);
const show = (name: string, values: readonly number[]): void =>
  out(
    `  ${name.padEnd(36)} p50 ${percentile(values, 0.5).toFixed(1).padStart(7)} ms   p95 ${percentile(values, 0.95).toFixed(1).padStart(7)} ms`,
  );

const calls = Number(process.argv.slice(2).find((word) => /^\d+$/.test(word)) ?? 1_000);
const scratch = await mkdtemp(join(tmpdir(), 'flashpods-bench-'));
const api = await startApi({
  rsync: true,
  limits: { oneBytes: 100_000_000, totalBytes: 1_000_000_000, unusedMs: 3_600_000 },
});
const node: number[] = [];
const version: number[] = [];
const completion: number[] = [];
const resent: Record<'http' | 'rsync', number[]> = { http: [], rsync: [] };
try {
  for (let job = 0; job < 50; job += 1) await api.caller.submit(`make target-${job}`, { cpus: 1 });
  const env = {
    PATH: process.env['PATH'],
    HOME: scratch,
    FLASHPODS_URL: api.caller.url,
    FLASHPODS_API_TOKEN: api.token,
  };
  const timed = async (into: number[], file: string, ...args: string[]): Promise<string> => {
    const begun = performance.now();
    const { stdout } = await run(file, args, { env });
    into.push(performance.now() - begun);
    return stdout;
  };
  // The first call of a machine fills the caches.
  await timed([], LAUNCHER, '--version');
  const offered = (await timed([], LAUNCHER, '__complete', 'kill', '')).trim().split('\n').length;
  for (let call = 0; call < calls; call += 1) {
    await timed(node, process.execPath, '-e', '0');
    await timed(version, LAUNCHER, '--version');
    await timed(completion, LAUNCHER, '__complete', 'kill', '');
  }
  out(`${calls} calls of each, ${offered} jobs offered`);
  show('node -e 0', node);
  show('flashpods --version', version);
  show('completion with the ids of jobs', completion);

  const project = join(scratch, 'project');
  for (let at = 0; at < FILES; at += 1) {
    if (at % 100 === 0) await mkdir(join(project, `d${at / 100}`), { recursive: true });
    await writeFile(
      join(project, `d${Math.floor(at / 100)}`, `f${at}`),
      `content of file ${at}\n`.repeat(50),
    );
  }
  for (const transport of ['http', 'rsync'] as const) {
    const client = new FlashpodsClient({
      ...connectionTo(api.caller.url),
      token: api.token,
      cacheDir: join(scratch, 'cache', transport),
    });
    await uploadDirectory(client, project, { transport });
    for (let round = 0; round < (transport === 'http' ? ROUNDS : RSYNC_ROUNDS); round += 1) {
      await writeFile(join(project, 'd7', 'f777'), `changed ${transport} ${round}\n`);
      const begun = performance.now();
      const { sent } = await uploadDirectory(client, project, { transport });
      resent[transport].push(performance.now() - begun);
      if (sent.files !== 1) throw new Error(`${sent.files} files were sent`);
    }
    client.close();
  }
  out(`\n${FILES} files with one change, sent again over loopback`);
  show('what is used for a small change: http', resent.http);
  show('rsync', resent.rsync);
} finally {
  await api.stop();
  await rm(scratch, { recursive: true, force: true });
}

const missed = [
  percentile(version, 0.95) > AIMS.versionMs ? 'flashpods --version' : null,
  percentile(completion, 0.95) > AIMS.completionMs ? 'completion' : null,
  percentile(resent.http, 0.95) > AIMS.resendMs ? 'sending a change' : null,
].filter((name) => name !== null);
out(missed.length === 0 ? '\nwithin the aims' : `\nbeyond the aims: ${missed.join(', ')}`);
if (process.argv.includes('--check') && missed.length > 0) process.exitCode = 1;
