import assert from 'node:assert/strict';
import { chmod, chown, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { beforeEach, describe, it } from 'mocha';
import { loadClientEnvironment } from '../../src/client/environment.ts';
import { announceLocalServer, findLocalServer } from '../../src/client/local-server.ts';
import { discoverConnection } from '../../src/client/connection.ts';
import { scratch } from '../support/scratch.ts';

const OTHER = 65_000;

describe('the server of this machine', () => {
  const directory = scratch();
  let run: string;
  beforeEach(async () => {
    await directory.make();
    run = directory.path('run');
    await rm(run, { recursive: true, force: true });
    await rm(directory.path('real'), { recursive: true, force: true });
    await mkdir(run, { mode: 0o700 });
    await announceLocalServer(run, { url: 'http://127.0.0.1:1', pid: process.pid });
  });

  it('is found in a directory of ours', () => {
    assert.equal(findLocalServer(run)?.url, 'http://127.0.0.1:1');
    assert.equal(findLocalServer(directory.path('none')), null);
  });

  it('is announced with an address of this machine when it listens on all', async () => {
    for (const [url, found] of [
      ['http://0.0.0.0:7', 'http://127.0.0.1:7'],
      ['http://[::]:7', 'http://[::1]:7'],
    ] as const) {
      await announceLocalServer(run, { url, pid: process.pid });
      assert.equal(findLocalServer(run)?.url, found);
    }
  });

  it('is not believed when the directory or the file may be somebody else’s', async () => {
    if (process.getuid?.() !== 0) return; // only root can give a directory away
    await chmod(run, 0o777);
    assert.equal(findLocalServer(run), null);
    await chmod(run, 0o700);
    await chown(run, OTHER, OTHER);
    assert.equal(findLocalServer(run), null);
    await chown(run, 0, 0);
    await chown(`${run}/server.json`, OTHER, OTHER);
    assert.equal(findLocalServer(run), null);
    await chown(`${run}/server.json`, 0, 0);
    assert.notEqual(findLocalServer(run), null);
  });

  it('is not looked for through links', async () => {
    await rename(run, directory.path('real'));
    await symlink('real', run);
    assert.equal(findLocalServer(run), null);
    await rm(run);
    await mkdir(run, { mode: 0o700 });
    await symlink('../real/server.json', `${run}/server.json`);
    assert.equal(findLocalServer(run), null);
  });

  it('gets a token at a loopback address alone', async () => {
    await writeFile(directory.path('token'), 'the-token-of-this-machine\n');
    const env = loadClientEnvironment({
      HOME: directory.path(),
      FLASHPODS_RUN_PATH: run,
      FLASHPODS_TOKEN_FILE: directory.path('token'),
    });
    assert.equal((await discoverConnection({}, env)).token, 'the-token-of-this-machine');
    for (const url of [
      'http://192.0.2.1:80',
      'http://127.0.0.1.example.org:80',
      'http://evil.example',
      'ftp://localhost',
      'x',
    ]) {
      await writeFile(`${run}/server.json`, JSON.stringify({ url, pid: process.pid }));
      assert.equal(findLocalServer(run), null, url);
      await assert.rejects(discoverConnection({}, env), /none runs on this machine|is not http/);
    }
  });
});
