import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { before, describe, it } from 'mocha';
import { scratch } from '../support/scratch.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

describe('the flashpods command', () => {
  const directory = scratch();
  before(() => directory.make());

  const run = (
    program: string,
    args: string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number; stdout: string; stderr: string }> =>
    new Promise((resolve) => {
      const settings = { PATH: process.env['PATH'], HOME: directory.path(), ...env };
      execFile(program, args, { env: settings, timeout: 60_000 }, (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });

  it('works from anywhere through a symlink, as npm makes one', async () => {
    await symlink(`${ROOT}flashpods`, directory.path('linked'));
    const { code, stdout } = await run(directory.path('linked'), ['--version']);
    assert.equal(code, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });

  it('says how to get a Node when there is none that will do', async () => {
    const checkout = directory.path('checkout');
    await mkdir(`${checkout}/scripts`, { recursive: true });
    for (const file of ['flashpods', 'scripts/node.bash'])
      await run('cp', [`${ROOT}${file}`, `${checkout}/${file}`]);
    await mkdir(directory.path('old'));
    await writeFile(directory.path('old', 'node'), '#!/bin/sh\necho v20.1.0\n', { mode: 0o755 });
    const { code, stderr } = await run(`${checkout}/flashpods`, ['ps'], {
      PATH: `${directory.path('old')}:/usr/bin:/bin`,
    });
    assert.equal(code, 1);
    assert.match(stderr, /Node 22\.18 or later is needed[^]*scripts\/ensure/);
  });

  it('ends with 2 when the CA file for jobs can’t be used', async () => {
    const set = {
      FLASHPODS_CA_FILE: directory.path('no.pem'),
      FLASHPODS_PODMAN_SOCKET: directory.path('no.sock'),
    };
    for (const role of ['up', 'worker']) {
      const { code, stderr } = await run(`${ROOT}flashpods`, [role, '--data-dir', directory.path('d')], set);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /FLASHPODS_CA_FILE: \S+no\.pem is not there/);
    }
  });

  it('ends with 2 and names the setting that is wrong', async () => {
    for (const role of ['up', 'api', 'worker']) {
      const { code, stderr } = await run(`${ROOT}flashpods`, [
        role,
        '--data-dir',
        directory.path('d'),
        '--cpus',
        'many',
      ]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /--cpus/);
    }
  });

  it('tells a part that lacks Redis, Podman or a token what to set', async () => {
    const base = { FLASHPODS_DATA_DIR: directory.path('d') };
    const redis = { FLASHPODS_REDIS_URL: `unix://${directory.path('none.sock')}` };
    const token = { FLASHPODS_API_TOKEN: 'a-token-for-the-test' };
    for (const [role, env, wanted] of [
      ['api', { ...base, ...redis }, 'FLASHPODS_API_TOKEN'],
      ['api', { ...base, ...token }, 'FLASHPODS_REDIS_URL'],
      ['worker', { ...base, ...redis }, 'FLASHPODS_PODMAN_SOCKET'],
    ] as const) {
      const { code, stderr } = await run(`${ROOT}flashpods`, [role], env);
      assert.equal(code, 2, stderr);
      assert.ok(stderr.includes(wanted), stderr);
    }
  });
});
