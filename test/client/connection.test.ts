import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chown, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type ConnectionFlags, discoverConnection } from '../../src/client/connection.ts';
import { announceLocalServer, withdrawLocalServer } from '../../src/client/local-server.ts';
import { type ClientEnvironment, loadClientEnvironment } from '../../src/client/environment.ts';

describe('finding the server', () => {
  let home: string;

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'flashpods-home-'));
    await mkdir(join(home, '.config/flashpods'), { recursive: true });
  });
  afterEach(() => rm(home, { recursive: true, force: true }));

  const environment = (variables: Record<string, string> = {}): ClientEnvironment =>
    loadClientEnvironment({ HOME: home, FLASHPODS_DATA_DIR: home, FLASHPODS_RUN_PATH: home, ...variables });
  const find = async (
    flags: ConnectionFlags = {},
    variables: Record<string, string> = {},
  ): Promise<[string, string | null]> => {
    const { url, token } = await discoverConnection(flags, environment(variables));
    return [url.origin, token];
  };
  const configure = (config: unknown): Promise<void> =>
    writeFile(join(home, '.config/flashpods/config.json'), JSON.stringify(config));
  const storeToken = (): Promise<void> =>
    writeFile(join(home, 'token'), 'the-token-of-this-machine\n', { mode: 0o600 });
  const announce = (pid = process.pid): Promise<void> =>
    announceLocalServer(home, { url: 'http://127.0.0.1:4005', pid });

  it('asks flags, then the environment, then the file, then this machine', async () => {
    await storeToken();
    await announce();
    assert.deepEqual(await find(), ['http://127.0.0.1:4005', 'the-token-of-this-machine']);
    await configure({ api_host: 'filed.test', api_port: 4004, api_token: 'filed', rsync_host: 'ignored' });
    assert.deepEqual(await find(), ['http://filed.test:4004', 'filed']);
    const named = {
      FLASHPODS_HOST: 'named.test',
      FLASHPODS_PORT: '4003',
      FLASHPODS_API_TOKEN: 'set-in-the-environment',
    };
    assert.deepEqual(await find({}, named), ['http://named.test:4003', 'set-in-the-environment']);
    const located = { ...named, FLASHPODS_URL: 'https://located.test' };
    assert.deepEqual(await find({}, located), ['https://located.test', 'set-in-the-environment']);
    assert.deepEqual(await find({ port: '4002' }, located), [
      'http://named.test:4002',
      'set-in-the-environment',
    ]);
    const flags = { url: 'http://[::1]:4001/prefix', token: 'said' };
    assert.deepEqual(await find(flags, located), ['http://[::1]:4001', 'said']);
  });

  it('takes retries and excludes from the file', async () => {
    await configure({
      api_token: 't',
      retry_max_attempts: 2,
      retry_base_delay_ms: 3,
      retry_max_delay_ms: 4,
      default_exclude: ['x'],
    });
    const { retry, defaultExclude } = await discoverConnection({}, environment());
    assert.deepEqual(retry, { maxAttempts: 2, baseDelayMs: 3, maxDelayMs: 4 });
    assert.deepEqual(defaultExclude, ['x']);
  });

  it('sends the token of this machine to this machine only', async () => {
    await storeToken();
    assert.deepEqual(await find({ url: 'http://elsewhere.test:1' }), ['http://elsewhere.test:1', null]);
    assert.deepEqual(await find({ url: 'http://127.0.0.1.elsewhere.test:1' }), [
      'http://127.0.0.1.elsewhere.test:1',
      null,
    ]);
    for (const url of ['http://127.0.0.1:1', 'http://localhost:1', 'http://[::1]:1']) {
      assert.deepEqual(await find({ url }), [url, 'the-token-of-this-machine']);
    }
  });

  it('tries no address that nobody named, unless it was given a token', async () => {
    await storeToken();
    await assert.rejects(find(), { code: 'not_reachable', message: /none runs on this machine/ });
    assert.deepEqual(await find({ token: 'said' }), ['http://127.0.0.1:8080', 'said']);
  });

  it('does not believe in a server whose process is gone', async () => {
    const gone = Number(execFileSync('/bin/sh', ['-c', 'echo $$'], { encoding: 'utf8' }));
    await announce(gone);
    await assert.rejects(find(), { code: 'not_reachable' });
  });

  it('does not believe what another user says about this machine', async function () {
    if (process.getuid?.() !== 0) return; // only root can make such a file
    await announce();
    const environmentOfUser = environment();
    await chown(join(home, 'server.json'), 65_534, 65_534);
    await assert.rejects(discoverConnection({}, environmentOfUser), { code: 'not_reachable' });
  });

  it('keeps the announcement private and takes back only its own', async () => {
    await announce();
    assert.equal((await stat(join(home, 'server.json'))).mode & 0o777, 0o600);
    await withdrawLocalServer(home, process.pid + 1);
    assert.deepEqual(await find(), ['http://127.0.0.1:4005', null]);
    await withdrawLocalServer(home, process.pid);
    await assert.rejects(find(), { code: 'not_reachable' });
  });

  for (const [what, flags, variables, file] of [
    ['a port that is none', { port: 'http' }, {}, {}],
    ['a URL that is none', {}, { FLASHPODS_URL: 'nonsense' }, {}],
    ['a URL of another protocol', {}, { FLASHPODS_URL: 'ftp://x' }, {}],
    ['a URL with a password', { url: 'http://a:b@c' }, {}, {}],
    ['a host that is none', { host: 'a/b' }, {}, {}],
    ['a token with a space', { token: 'a b' }, {}, {}],
    ['a port of the wrong type in the file', {}, {}, { api_port: 'x' }],
  ] as const) {
    it(`refuses ${what}`, async () => {
      await configure(file);
      await assert.rejects(find(flags, variables), { code: 'wrong_settings' });
    });
  }

  it('refuses a file that is not JSON, by name', async () => {
    await writeFile(join(home, '.config/flashpods/config.json'), '{');
    await assert.rejects(find(), { code: 'wrong_settings', message: /config\.json is not JSON/ });
  });
});
