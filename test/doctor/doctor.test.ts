import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import type { Result } from '../../src/doctor/check.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { startStack } from '../support/stack.ts';

const COMMAND = new URL('../../bin/flashpods.ts', import.meta.url).pathname;

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | null;
}

function launch(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [COMMAND, 'doctor', ...args], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return {
    child,
    ended: new Promise((resolve) => child.once('close', (exitCode) => resolve({ stdout, stderr, exitCode }))),
  };
}

const grades = ({ stdout }: Ended): Record<string, string> => {
  const { checks } = JSON.parse(stdout) as { checks: Result[] };
  return Object.fromEntries(checks.map(({ name, grade }) => [name, grade]));
};

describe('flashpods doctor', () => {
  let dir: Awaited<ReturnType<typeof temporaryDirectory>>;
  let env: NodeJS.ProcessEnv;
  before(async () => {
    dir = await temporaryDirectory();
    mkdirSync(join(dir.path, 'tmp'));
    // A port of its own, no matter what else runs on this machine.
    const free = '127.0.0.1:0';
    env = {
      HOME: dir.path,
      TMPDIR: join(dir.path, 'tmp'),
      FLASHPODS_LISTEN_ADDR: free,
      FLASHPODS_RSYNC_ADDR: free,
    };
  });
  after(() => dir.remove());
  const leftovers = (): string[] => readdirSync(join(dir.path, 'tmp'));

  it('before the first start finds nothing to mend here, says how to go on, and leaves nothing', async () => {
    const { stdout, exitCode } = await launch([], env).ended;
    assert.equal(exitCode, 0, stdout);
    assert.match(stdout, /^✓ podman .*started for this check/m);
    assert.match(stdout, /^✓ job network .*; a container ran on it$/m);
    assert.match(stdout, /^- job .*\n +→ Start one with `flashpods up`/m);
    assert.match(stdout, /\d+ fine, \d+ to look at, 0 to fix, 5 not checked\n$/);
    assert.doesNotMatch(stdout, /firewall|identity|secret|undefined|\u001b/);
    assert.deepEqual(leftovers(), []);
  });

  it('with a server runs a job to its end', async () => {
    const stack = await startStack({ workers: [{ name: 'doctored', cpus: 2, memoryGb: 4 }] });
    try {
      const own = { ...env, ...stack.env, FLASHPODS_LISTEN_ADDR: new URL(stack.caller.url).host };
      const ended = await launch(['--json'], own).ended;
      assert.equal(ended.exitCode, 0, ended.stdout + ended.stderr);
      const found = grades(ended);
      for (const name of ['database', 'redis', 'podman', 'image', 'api address', 'server', 'hosts', 'job'])
        assert.equal(found[name], 'ok', ended.stdout);
      const wrong = await launch(['--json'], { ...own, FLASHPODS_API_TOKEN: 'x'.repeat(64) }).ended;
      assert.deepEqual([wrong.exitCode, grades(wrong)['job']], [1, 'failure']);
    } finally {
      await stack.stop();
    }
  });

  it('names the programs that are missing, and ends with 1', async () => {
    const ended = await launch(['--json'], { ...env, PATH: join(dir.path, 'empty') }).ended;
    assert.equal(ended.exitCode, 1);
    const { checks } = JSON.parse(ended.stdout) as { checks: Result[] };
    const missing = checks.filter(({ message }) => message.includes('not installed'));
    assert.deepEqual(
      missing.map(({ name, grade }) => `${name} ${grade}`),
      ['redis failure', 'podman failure', 'rsync warning'],
    );
    for (const { advice } of missing) assert.match(advice ?? '', /apt-get install/);
  });

  it('runs a container on the network of jobs, and says what is missing when none starts', async () => {
    // Everything that is installed, but for what makes rules for packets.
    const programs = join(dir.path, 'programs');
    mkdirSync(programs);
    const names = new Map<string, string>();
    for (const path of `${process.env['PATH']}:/usr/sbin:/sbin`.split(':').filter((each) => existsSync(each)))
      for (const name of readdirSync(path)) if (!names.has(name)) names.set(name, join(path, name));
    for (const [name, path] of names)
      if (!/^(nft|x?ip6?tables)/.test(name)) symlinkSync(path, join(programs, name));
    const { stdout, exitCode } = await launch([], { ...env, PATH: programs }).ended;
    assert.equal(exitCode, 1, stdout);
    assert.match(stdout, /^✗ job network .*does not start.*\n +→ On Debian: apt-get install \w*tables\.$/m);
    assert.deepEqual(leftovers(), []);
  });

  it('ends with 2 and names the setting when one is wrong', async () => {
    const { stderr, exitCode } = await launch([], { ...env, FLASHPODS_CPUS: 'many' }).ended;
    assert.equal(exitCode, 2);
    assert.match(stderr, /FLASHPODS_CPUS/);
  });

  it('takes its Podman service with it when it is interrupted', async () => {
    const { child, ended } = launch([], env);
    const pid = await eventually('its service runs', () => {
      const [scratch = ''] = leftovers();
      const record = readFileSync(join(dir.path, 'tmp', scratch, 'podman', 'podman-service.json'), 'utf8');
      return (JSON.parse(record) as { pid: number }).pid;
    });
    child.kill('SIGINT');
    assert.equal((await ended).exitCode, 130);
    assert.deepEqual(leftovers(), []);
    assert.throws(() => process.kill(pid, 0), /ESRCH/);
  });
});
