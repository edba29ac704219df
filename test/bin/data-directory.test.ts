import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { execa } from 'execa';
import { beforeEach, describe, it } from 'mocha';
import { lockDataDirectory, makePrivateDirectories, makeToken, readToken } from '../../bin/data-directory.ts';
import { Database } from '../../src/database/database.ts';
import { isDraft } from '../../src/files/write-whole.ts';
import { identifySelf, toRecord } from '../../src/lifecycle/process-identity.ts';
import { type Config, ConfigError, loadConfig } from '../../src/config.ts';
import { scratch } from '../support/scratch.ts';

const COMMAND = new URL('../../bin/flashpods.ts', import.meta.url).pathname;

describe('data directory', () => {
  const directory = scratch();
  let config: Config;
  let count = 0;
  beforeEach(async () => {
    await directory.make();
    config = loadConfig({ dataDir: directory.path(`data-${(count += 1)}`) }, {});
    makePrivateDirectories(config);
  });

  it('is closed to others, also when it was open before', () => {
    chmodSync(config.dataDir, 0o755);
    makePrivateDirectories(config);
    assert.equal(statSync(config.dataDir).mode & 0o777, 0o700);
    assert.equal(statSync(config.runPath).mode & 0o777, 0o700);
  });

  it('of sockets is refused when it is a link or another user’s, and left as it is', () => {
    if (process.getuid?.() !== 0) return; // only root can give a directory away
    const other = directory.path(`other-${count}`);
    mkdirSync(other, { mode: 0o755 });
    const linked = { ...config, runPath: directory.path(`link-${count}`) };
    symlinkSync(other, linked.runPath);
    assert.throws(() => makePrivateDirectories(linked), /link-\d+ is a link or no directory/);
    chownSync(other, 65_000, 65_000);
    for (const wrong of [
      { ...config, runPath: other },
      { ...config, dataDir: other },
    ])
      assert.throws(() => makePrivateDirectories(wrong), /belongs to another user \(uid 65000\).*FLASHPODS_/);
    assert.equal(statSync(other).mode & 0o777, 0o755);
  });

  it('is looked at by every role, also one that runs alone', async () => {
    if (process.getuid?.() !== 0) return; // only root can give a directory away
    const runPath = directory.path(`taken-${count}`);
    mkdirSync(runPath);
    chownSync(runPath, 65_000, 65_000);
    for (const role of ['api', 'worker', 'up']) {
      const env = {
        PATH: process.env['PATH'],
        HOME: directory.path(),
        FLASHPODS_DATA_DIR: config.dataDir,
        FLASHPODS_RUN_PATH: runPath,
        FLASHPODS_REDIS_URL: 'redis://127.0.0.1:1',
        FLASHPODS_API_TOKEN: 'a-token-of-the-test-alone',
        FLASHPODS_PODMAN_SOCKET: directory.path('podman.sock'),
      };
      const { stderr, exitCode } = await execa(process.execPath, [COMMAND, role], {
        env,
        extendEnv: false,
        reject: false,
      });
      assert.notEqual(exitCode, 0);
      assert.match(stderr, /taken-\d+ belongs to another user/, role);
    }
    assert.deepEqual(readdirSync(runPath), []);
  });

  it('keeps the database to itself', async () => {
    const path = directory.path(`open-${count}.db`);
    writeFileSync(path, '', { mode: 0o644 });
    const database = await Database.open({ path });
    for (const name of [path, `${path}-wal`]) assert.equal(statSync(name).mode & 0o077, 0, name);
    await database.close();
  });

  it('that can not be made is named, with the way out', () => {
    writeFileSync(directory.path(`file-${count}`), '');
    const wrong = loadConfig({ dataDir: directory.path(`file-${count}`, 'below') }, {});
    assert.throws(
      () => makePrivateDirectories(wrong),
      (error) => error instanceof ConfigError && /ENOTDIR.*FLASHPODS_DATA_DIR/.test(error.message),
    );
  });

  it('belongs to one process at a time and can be given back', () => {
    const lock = lockDataDirectory(config);
    assert.throws(() => lockDataDirectory(config), new RegExp(`pid ${process.pid}`));
    lock.release();
    lockDataDirectory(config).release();
  });

  it('is taken over from a process that is gone, and from one whose pid another has now', () => {
    const self = toRecord(identifySelf(), config.dataDir);
    for (const left of [
      JSON.stringify({ ...self, pid: 4_194_304 }),
      JSON.stringify({ ...self, startTicks: '1' }),
      '{"pi',
    ]) {
      writeFileSync(`${config.dataDir}/up.json`, left);
      lockDataDirectory(config).release();
      assert.ok(!existsSync(`${config.dataDir}/up.json`));
    }
  });

  it('gets a token once, and keeps it', () => {
    makeToken(config);
    const token = readToken(config);
    assert.match(token, /^[0-9a-f]{64}$/);
    makeToken(config);
    assert.equal(readToken(config), token);
    assert.equal(statSync(config.tokenFile).mode & 0o777, 0o600);
  });

  it('refuses a file that holds no token', () => {
    for (const text of ['', 'short\n', 'two words that are long enough\n']) {
      writeFileSync(config.tokenFile, text);
      assert.throws(() => readToken(config), ConfigError);
    }
  });

  it('keeps no file when the token is configured', () => {
    const configured = { ...config, apiToken: 'from-the-configuration' };
    makeToken(configured);
    assert.ok(!existsSync(config.tokenFile));
    assert.equal(readToken(configured), 'from-the-configuration');
  });

  it('leaves no draft of the lock behind', () => {
    const lock = lockDataDirectory(config);
    const { pid } = JSON.parse(readFileSync(`${config.dataDir}/up.json`, 'utf8')) as { pid: number };
    assert.equal(pid, process.pid);
    assert.deepEqual(readdirSync(config.dataDir).filter(isDraft), []);
    lock.release();
  });
});
