import assert from 'node:assert/strict';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, it } from 'mocha';
import { lockDataDirectory, makePrivateDirectories, makeToken, readToken } from '../../bin/data-directory.ts';
import { isDraft } from '../../src/files/write-whole.ts';
import { identifySelf, toRecord } from '../../src/lifecycle/process-identity.ts';
import { type Config, ConfigError, loadConfig } from '../../src/config.ts';
import { scratch } from '../support/scratch.ts';

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
