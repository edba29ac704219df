import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import { Redis } from 'ioredis';
import { loadClientEnvironment } from '../../src/client/environment.ts';
import { type Config, type Flags, explainConfig } from '../../src/config.ts';
import type { RuntimeFacts } from '../../src/containers/runtime.ts';
import { Database } from '../../src/database/database.ts';
import { type Check, ok, type Result, runChecks } from '../../src/doctor/check.ts';
import { installationChecks } from '../../src/doctor/checks/installation.ts';
import { jobRoots, podmanChecks } from '../../src/doctor/checks/podman.ts';
import { portChecks } from '../../src/doctor/checks/ports.ts';
import { redisChecks } from '../../src/doctor/checks/redis.ts';
import { serverChecks } from '../../src/doctor/checks/server.ts';
import { PodmanProbe } from '../../src/doctor/podman-probe.ts';
import type { DoctorResources } from '../../src/doctor/resources.ts';
import { eventually } from '../support/eventually.ts';
import { createKeys } from '../../queues/keys.ts';
import { Semaphore } from '../../queues/semaphore/semaphore.ts';
import { makeCa } from '../support/mirror/mirror.ts';
import { TestRedis } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

const NEVER = new AbortController().signal;

async function all(checks: readonly Check[], stop = NEVER): Promise<Result[]> {
  const results: Result[] = [];
  for await (const result of runChecks(checks, stop)) results.push(result);
  return results;
}

describe('running checks', () => {
  const fine = (name: string): Check => ({ name, timeoutMs: 5_000, run: () => Promise.resolve(ok('fine')) });
  const hangs: Check = { name: 'hangs', timeoutMs: 30, run: () => new Promise(() => undefined) };
  const throws: Check = { name: 'throws', timeoutMs: 5_000, run: () => Promise.reject(new Error('a\n b')) };

  it('goes on after one that hangs and one that throws, in order', async () => {
    const results = await all([fine('a'), hangs, throws, fine('b')]);
    assert.deepEqual(
      results.map(({ name, grade, message }) => [name, grade, message]),
      [
        ['a', 'ok', 'fine'],
        ['hangs', 'failure', 'no answer within 0.03 s'],
        ['throws', 'failure', 'a b'],
        ['b', 'ok', 'fine'],
      ],
    );
  });

  it('ends at once when it is interrupted', async () => {
    const stop = new AbortController();
    const late = { ...hangs, timeoutMs: 60_000 };
    const running = all([late, late], stop.signal);
    stop.abort(new Error('enough'));
    assert.deepEqual(
      (await running).map(({ grade, message }) => [grade, message]),
      Array(2).fill(['skipped', 'interrupted']),
    );
  });
});

describe('doctor’s checks', () => {
  let dir: Awaited<ReturnType<typeof temporaryDirectory>>;
  before(async () => {
    dir = await temporaryDirectory();
  });
  after(() => dir.remove());

  const at = (...parts: string[]): string => join(dir.path, ...parts);
  function resources(flags: Flags = {}): DoctorResources {
    const { config, origins } = explainConfig({ dataDir: at('data'), ...flags }, {});
    return {
      config,
      isConfigured: (setting: keyof Config) => origins.has(setting),
      auditSums: (redis) => new Semaphore(redis, createKeys()).audit(),
      client: loadClientEnvironment({ HOME: dir.path, FLASHPODS_DATA_DIR: config.dataDir }),
      connection: {},
      podman: new PodmanProbe({
        ...config,
        socketPath: config.podmanSocket,
        runDir: at('p'),
        scratch: at('s'),
      }),
      rsyncPath: at('rsync'),
      scratch: at('s'),
    };
  }
  type Kind = (given: DoctorResources) => readonly Check[];
  async function result(kind: Kind, name: string, flags?: Flags): Promise<Result> {
    const [found] = await all(kind(resources(flags)).filter((check) => check.name === name));
    assert.ok(found, name);
    if (found.grade === 'failure' || found.grade === 'warning')
      assert.ok(found.advice, 'says how to mend it');
    return found;
  }
  const grade = async (kind: Kind, name: string, flags?: Flags): Promise<string> =>
    (await result(kind, name, flags)).grade;

  describe('of the installation', () => {
    afterEach(() => rmSync(at('data'), { recursive: true, force: true }));

    it('change nothing and complain of nothing before the first start', async () => {
      const results = await all(installationChecks(resources()));
      assert.deepEqual(
        results.map(({ name, grade: found }) => [name, found]),
        [
          ['node', 'ok'],
          ['directories', 'ok'],
          ['token', 'skipped'],
          ['disk space', 'ok'],
          ['database', 'skipped'],
          ['mirrors', 'ok'],
        ],
      );
      assert.equal(existsSync(at('data')), false);
    });

    it('want a CA file with certificates in it, and tell no address', async () => {
      writeFileSync(at('none.pem'), 'nothing');
      const bad = await result(installationChecks, 'mirrors', { caFile: at('none.pem') });
      assert.deepEqual([bad.grade, bad.message.includes(at('none.pem'))], ['failure', true]);
      const caFile = await makeCa(at('ca'), 'Our CA');
      const good = await result(installationChecks, 'mirrors', {
        caFile,
        npmRegistry: 'https://a:hidden@b/',
      });
      assert.deepEqual(
        [good.grade, good.message],
        ['ok', 'CAs of jobs: Our CA; set: FLASHPODS_NPM_REGISTRY'],
      );
    });

    it('want the data directory closed to others', async () => {
      mkdirSync(at('data'));
      chmodSync(at('data'), 0o755);
      const { grade: found, advice } = await result(installationChecks, 'directories');
      assert.deepEqual([found, advice], ['warning', `chmod 700 ${at('data')}`]);
      chmodSync(at('data'), 0o700);
      assert.equal(await grade(installationChecks, 'directories'), 'ok');
      writeFileSync(at('data', 'uploads'), '');
      assert.equal(await grade(installationChecks, 'directories'), 'failure');
    });

    it('want the token to be one, and closed to others', async () => {
      mkdirSync(at('data'));
      const file = at('data', 'token');
      writeFileSync(file, 'a'.repeat(64), { mode: 0o600 });
      assert.equal(await grade(installationChecks, 'token'), 'ok');
      chmodSync(file, 0o640);
      const open = await result(installationChecks, 'token');
      assert.match(`${open.grade} ${open.advice}`, /^failure chmod 600 /);
      chmodSync(file, 0o600);
      writeFileSync(file, 'short');
      assert.equal(await grade(installationChecks, 'token'), 'failure');
      assert.equal(await grade(installationChecks, 'token', { apiToken: 'b'.repeat(16) }), 'warning');
      assert.equal(await grade(installationChecks, 'token', { apiToken: 'b'.repeat(64) }), 'ok');
    });

    it('want space', async () => {
      const { grade: found, advice } = await result(installationChecks, 'disk space', { minFreeDiskMb: 1e9 });
      assert.equal(found, 'failure');
      assert.match(advice ?? '', /FLASHPODS_MIN_FREE_DISK_MB/);
    });

    it('tell a database of a newer program, and a file that is none, without changing them', async () => {
      const database = await Database.open({ path: at('data', 'flashpods.db') });
      try {
        assert.equal(await grade(installationChecks, 'database'), 'ok');
        const later = { name: '9999-later', applied_at: 0 };
        await database.write((trx) => trx('schema_migrations').insert(later));
        const { message } = await result(installationChecks, 'database');
        assert.match(message, /newer than this program.*9999-later/);
      } finally {
        await database.close();
      }
      writeFileSync(at('data', 'other.db'), 'not a database, but long enough to have a header of its own');
      const before = readFileSync(at('data', 'other.db'), 'utf8');
      assert.equal(
        await grade(installationChecks, 'database', { dbPath: at('data', 'other.db') }),
        'failure',
      );
      assert.equal(readFileSync(at('data', 'other.db'), 'utf8'), before);
    });
  });

  describe('of Redis', () => {
    let redis: TestRedis;
    let admin: Redis;
    before(async () => {
      redis = await TestRedis.start();
      admin = new Redis({ path: redis.socketPath });
    });
    after(async () => {
      admin.disconnect();
      await redis.stop();
    });
    const look = (redisUrl = redis.url): Promise<Result> => result(redisChecks, 'redis', { redisUrl });

    it('are content with ours', async () => {
      assert.equal((await look()).grade, 'ok');
    });

    it('tell which sums disagree with the reservations', async () => {
      const keys = createKeys();
      await admin.hset(keys.heldCpus, 'ann', 5);
      const { grade: found, message, advice } = await look();
      assert.equal(found, 'failure');
      assert.match(`${message} ${advice}`, /does not add up: .*ann.* Restart Redis/);
      await admin.del(keys.heldCpus);
    });

    it('refuse one that may forget jobs', async () => {
      await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
      const { grade: found, message, advice } = await look();
      assert.equal(found, 'failure');
      assert.match(`${message} ${advice}`, /allkeys-lru.*CONFIG SET maxmemory-policy noeviction/);
      await admin.config('SET', 'maxmemory-policy', 'noeviction');
    });

    it('warn of one that keeps nothing', async () => {
      await admin.config('SET', 'appendonly', 'no');
      assert.equal((await look()).grade, 'warning');
      await admin.config('SET', 'appendonly', 'yes');
      // A server that writes its first file does not end when it is told to.
      await eventually('the file is written', async () =>
        /aof_enabled:1[\s\S]*aof_rewrite_in_progress:0\r[\s\S]*aof_rewrite_scheduled:0/.test(
          await admin.info('persistence'),
        ),
      );
    });

    it('tell a refusal and an absence, and never the password', async () => {
      await admin.config('SET', 'requirepass', 'right');
      assert.match((await look()).message, /NOAUTH/);
      await admin.config('SET', 'requirepass', '');
      const away = await look('redis://user:hidden-word@127.0.0.1:1/0?password=hidden-word');
      assert.equal(away.grade, 'failure');
      assert.match(away.message, /ECONNREFUSED/);
      assert.doesNotMatch(JSON.stringify(away), /hidden-word/);
    });
  });

  describe('of addresses', () => {
    let stranger: Server;
    let taken: string;
    before(async () => {
      stranger = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'));
      await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
      taken = `127.0.0.1:${(stranger.address() as AddressInfo).port}`;
    });
    after(() => stranger.close());

    it('tell who has a port', async () => {
      assert.equal(await grade(portChecks, 'api address', { listenAddr: '127.0.0.1:0' }), 'ok');
      assert.equal(await grade(portChecks, 'api address', { listenAddr: '[::1]:0' }), 'ok');
      assert.match(
        (await result(portChecks, 'api address', { listenAddr: taken })).message,
        /something else/,
      );
      assert.match(
        (await result(portChecks, 'api address', { listenAddr: '192.0.2.1:80' })).message,
        /no such address/,
      );
      assert.equal(await grade(portChecks, 'rsync', { rsyncAddr: taken }), 'warning');
      assert.equal(await grade(portChecks, 'rsync', { rsyncAddr: 'off' }), 'ok');
    });

    it('say that no server runs', async () => {
      const results = await all(serverChecks(resources()));
      assert.deepEqual(
        results.map((each) => each.grade),
        ['skipped', 'skipped', 'skipped'],
      );
      assert.match(results[2]?.advice ?? '', /flashpods up/);
    });
  });

  describe('of Podman', () => {
    it('say why jobs can write to a part of their root file system only', () => {
      const found = (root: 'writable' | 'read-only') => {
        const notes = [
          'cgroup v1',
          'the root file system of a job is read-only but for /tmp: SELinux labels the files',
        ];
        return jobRoots({ runtime: { facts: { root, rootless: false, notes } as unknown as RuntimeFacts } });
      };
      assert.equal(found('writable').grade, 'ok');
      const { grade, message, advice } = found('read-only');
      assert.equal(grade, 'warning');
      assert.match(message, /read-only.*\(SELinux labels the files\): apt-get install fails/);
      assert.match(advice ?? '', /Linux 5\.19/);
    });

    it('give up a service that hangs, and check nothing that needs it', async () => {
      const silent = createServer(() => undefined);
      const podmanSocket = at('hangs.sock');
      await new Promise<void>((resolve) => silent.listen(podmanSocket, resolve));
      try {
        const results = await all(podmanChecks(resources({ podmanSocket })));
        assert.deepEqual(
          results.map(({ name, grade: found }) => `${name}: ${found}`),
          [
            'podman: failure',
            'runtime: skipped',
            'cgroups: skipped',
            'job disks: skipped',
            'job roots: skipped',
            'ids: skipped',
            'limits: ok',
            'job network: skipped',
            'image: skipped',
          ],
        );
        assert.match(results[0]?.advice ?? '', /FLASHPODS_PODMAN_SOCKET/);
      } finally {
        silent.close();
      }
    });
  });
});
