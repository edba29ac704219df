import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { after, afterEach, before, describe, it } from 'mocha';
import { isAlive, fromRecord, type ProcessIdentity } from '../../src/lifecycle/process-identity.ts';
import { eventually } from '../support/eventually.ts';
import { Caller, texts } from '../support/http.ts';
import { type RoleProcess, startRole } from '../support/processes.ts';
import { temporaryDirectory } from '../support/scratch.ts';

describe('flashpods up', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let running: RoleProcess | null = null;
  let starts = 0;

  before(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(async () => {
    await running?.end();
    running = null;
  });
  after(() => directory.remove());

  const data = (...parts: string[]): string => join(directory.path, 'data', ...parts);
  const json = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));
  const url = (): string => (json(data('run', 'server.json')) as { url: string }).url;
  const token = (): string => readFileSync(data('token'), 'utf8').trim();
  const caller = (): Caller => new Caller(url(), token());
  const recorded = (file: string, name?: string): ProcessIdentity => {
    const record = json(data(...file.split('/')));
    const found = fromRecord(
      name === undefined ? record : (record as Record<string, unknown>)[name],
      dirname(data(...file.split('/'))),
    );
    assert.ok(found, `${file} names no process`);
    return found;
  };
  const children = (): ProcessIdentity[] =>
    ['api', 'worker'].map((name) => recorded('run/children.json', name));

  function launch(settings: Record<string, string> = {}): { up: RoleProcess; log: string } {
    const log = join(directory.path, `up-${(starts += 1)}.log`);
    const up = startRole(
      'up',
      {
        FLASHPODS_DATA_DIR: data(),
        FLASHPODS_LISTEN_ADDR: '127.0.0.1:0',
        FLASHPODS_HOST_NAME: 'up-test',
        FLASHPODS_CPUS: '2',
        FLASHPODS_MEMORY_GB: '2',
        ...settings,
      },
      log,
    );
    return { up, log };
  }

  async function start(settings: Record<string, string> = {}): Promise<{ up: RoleProcess; log: string }> {
    const launched = launch(settings);
    running = launched.up;
    const said = (): Promise<string> => readFile(launched.log, 'utf8').catch(() => '');
    const failed = launched.up.exited.then(async () => assert.fail(`up has ended: ${await said()}`));
    const up = eventually(
      'up says that it is up',
      async () => ((await said()).includes(' is up.') ? said() : null),
      {
        timeoutMs: 60_000,
      },
    );
    const text = await Promise.race([up, failed]);
    assert.match(text, /API +http:\/\/127\.0\.0\.1:[1-9]\d*\n/);
    return launched;
  }

  it('makes a private directory with a token, and serves under it', async () => {
    const { log } = await start();
    assert.match(token(), /^[0-9a-f]{64}$/);
    assert.equal(statSync(data('token')).mode & 0o777, 0o600);
    assert.equal(statSync(data()).mode & 0o777, 0o700);
    assert.ok(readFileSync(log, 'utf8').includes(data('token')));
    assert.ok(!readFileSync(log, 'utf8').includes(token()), 'the token itself is not printed');

    // A busy machine may need a moment: a check that takes too long counts as down.
    const health = await eventually('everything is well', async () => {
      const { body } = await caller().json('GET', '/health');
      return body['status'] === 'healthy' ? body : null;
    });
    assert.deepEqual(health['checks'], { database: 'ok', redis: 'ok', disk: 'ok', podman: 'ok' });
    assert.equal((await new Caller(url(), 'f'.repeat(64)).json('GET', '/jobs')).status, 401);
  });

  it('runs a job that names no image in the base image', async () => {
    await start();
    const job = await caller().ended(await caller().submit('echo out; exit 3'));
    assert.deepEqual([job.status, job.exit_code], ['failed', 3]);
    const { body } = await caller().json('GET', `/jobs/${job.id}`);
    assert.equal(body['image'], 'localhost/flashpods/base:latest');
  });

  it('keeps an rsync daemon, and starts it again at its address when it dies', async () => {
    await start();
    const daemon = (): { address: string; daemon: ProcessIdentity } =>
      json(data('run', 'rsync', 'daemon.json')) as { address: string; daemon: ProcessIdentity };
    const before = daemon();
    const opened = (await caller().json('POST', '/uploads', {})).body;
    assert.ok(String(opened['rsync_url']).includes(before.address));
    process.kill(before.daemon.pid, 'SIGKILL');
    await eventually(
      'it runs again',
      () => daemon().daemon.pid !== before.daemon.pid && isAlive(daemon().daemon),
    );
    assert.equal(daemon().address, before.address);
    const again = daemon().daemon;
    const { stdout } = await execa(
      'rsync',
      ['-a', `${import.meta.dirname}/fixtures/`, String(opened['rsync_url'])],
      {
        env: { RSYNC_PASSWORD: String(opened['rsync_password']) },
      },
    );
    assert.equal(stdout, '');
    const sealed = await caller().json('POST', `/uploads/${String(opened['upload_id'])}/finalize`, {});
    assert.equal(sealed.body['file_count'], 1);
    await running?.end();
    assert.ok(!isAlive(again));
  });

  describe('as root', () => {
    const rsyncd = (): ProcessIdentity =>
      (json(data('run', 'rsync', 'daemon.json')) as { daemon: ProcessIdentity }).daemon;
    const listeners = (): ProcessIdentity[] => [
      recorded('run/children.json', 'api'),
      recorded('redis/redis.pid'),
      rsyncd(),
    ];
    const status = ({ pid }: ProcessIdentity, field: string): string[] =>
      new RegExp(`^${field}:\\s*(.*)$`, 'm')
        .exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
        ?.trim()
        .split(/\s+/) ?? [];

    const work = async (upload?: string): Promise<string> => {
      const files = upload === undefined ? {} : { files_id: upload };
      const id = await caller().submit('cat /work/sent 2>&1; echo kept > /artifacts/result', files);
      await caller().ended(id);
      return id;
    };
    const artifact = async (id: string): Promise<string> =>
      (await caller().fetch(`/jobs/${id}/artifacts/result`)).text();
    const finalized = async (upload: string): Promise<string> => {
      assert.equal((await caller().json('POST', `/uploads/${upload}/finalize`, {})).status, 200);
      return upload;
    };

    it('runs nothing as root that listens to strangers, also on a directory that is root’s', async function () {
      if (process.getuid?.() !== 0) this.skip();
      await start({ FLASHPODS_API_AS_ROOT: 'true' });
      assert.deepEqual(
        listeners().map((one) => status(one, 'Uid')[1]),
        ['0', '0', '0'],
      );
      const earlier = await work();
      await running?.end();

      await start();
      for (const one of listeners()) {
        for (const ids of [status(one, 'Uid'), status(one, 'Gid'), status(one, 'Groups')])
          assert.deepEqual([...new Set(ids)], ['999999']);
        assert.deepEqual(status(one, 'NoNewPrivs'), ['1']);
      }
      // Podman's socket and the worker's records are as much as root.
      const seen = (...parts: string[]): string[] =>
        readdirSync(`/proc/${listeners()[0]?.pid}/root${data(...parts)}`);
      assert.deepEqual([seen('hosts'), seen('run', 'podman'), seen('redis')], [[], [], []]);
      const environment = readFileSync(
        `/proc/${recorded('run/children.json', 'worker').pid}/environ`,
        'utf8',
      );
      assert.ok(!environment.includes('FLASHPODS_API_TOKEN'));
      assert.equal(await artifact(earlier), 'kept\n');
      assert.equal((await caller().json('GET', '/health')).body['status'], 'healthy');

      const source = join(directory.path, 'source');
      mkdirSync(source);
      writeFileSync(join(source, 'sent'), 'as sent\n', { mode: 0o640 });
      const byTar = (await caller().json('POST', '/uploads', {})).body;
      const tar = await execa('tar', ['-c', '-C', source, '.'], { encoding: 'buffer' });
      const sent = await caller().fetch(`/uploads/${String(byTar['upload_id'])}/files`, {
        method: 'PUT',
        body: tar.stdout,
        headers: { 'content-type': 'application/x-tar' },
      });
      assert.equal(sent.status, 200);
      const byRsync = (await caller().json('POST', '/uploads', {})).body;
      await execa('rsync', ['-a', `${source}/`, String(byRsync['rsync_url'])], {
        env: { RSYNC_PASSWORD: String(byRsync['rsync_password']) },
      });
      for (const opened of [byTar, byRsync]) {
        const id = await work(await finalized(String(opened['upload_id'])));
        assert.deepEqual(texts(await caller().output(id)), ['as sent']);
        assert.equal(await artifact(id), 'kept\n');
      }
      // Whom the worker's records and those of an API that is root belong to, all of them belong to.
      assert.deepEqual(
        [statSync(data('flashpods.db')).uid, statSync(data('uploads', 'snapshots')).uid],
        [0, 0],
      );
    });

    it('ends a transfer by rsync that goes on when its upload is deleted', async function () {
      if (process.getuid?.() !== 0) this.skip();
      await start();
      const opened = (await caller().json('POST', '/uploads', {})).body;
      const file = join(directory.path, 'large');
      await execa('truncate', ['-s', '64M', file]);
      const transfer = execa('rsync', ['--bwlimit=100', '-W', file, String(opened['rsync_url'])], {
        env: { RSYNC_PASSWORD: String(opened['rsync_password']) },
        reject: false,
      });
      const uploadId = String(opened['upload_id']);
      await eventually('bytes come', () => readdirSync(data('uploads', 'incoming', uploadId)).length > 0);
      await caller().fetch(`/uploads/${uploadId}`, { method: 'DELETE' });
      assert.notEqual((await transfer).exitCode, 0);
    });
  });

  it('ends everything in order at SIGTERM, with exit code 0', async () => {
    const { up } = await start();
    const parts = [...children(), recorded('redis/redis.pid')];
    assert.ok(parts.every(isAlive));
    // A terminal that closes, or what rotates logs, ends none of it.
    for (const { pid } of [up, ...parts]) process.kill(pid, 'SIGHUP');
    assert.equal((await caller().json('GET', '/health')).status, 200);
    assert.ok(parts.every(isAlive));
    assert.deepEqual(await up.end('SIGTERM'), { code: 0, signal: null });
    assert.deepEqual(parts.filter(isAlive), []);
    assert.throws(() => statSync(data('run', 'server.json')), { code: 'ENOENT' });
  });

  it('leaves a running job alone when it stops, and the next start takes it up again', async () => {
    const { up, log } = await start();
    const id = await caller().submit(
      'while [ ! -e /tmp/enough ]; do sleep 0.1; n=$((n+1)); [ $n -gt 60 ] && exit 5; done',
    );
    await caller().reached(id, ['running']);
    await up.end('SIGINT');
    assert.match(
      readFileSync(log, 'utf8'),
      /1 job is still running; the next start of `flashpods up` takes it up again/,
    );
    await start();
    const job = await caller().ended(id);
    assert.deepEqual([job.status, job.exit_code], ['failed', 5]);
  });

  it('refuses a second one in the same directory and names the first', async () => {
    const { up } = await start();
    const second = launch();
    assert.equal((await second.up.exited).code, 2);
    assert.match(
      readFileSync(second.log, 'utf8'),
      new RegExp(`another .flashpods up. \\(pid ${up.pid}\\) uses`),
    );
    assert.equal((await caller().json('GET', '/jobs')).status, 200);
  });

  it('starts a part that was killed again, the API under its old address', async () => {
    await start();
    const before = url();
    for (const name of ['api', 'worker']) {
      const victim = recorded('run/children.json', name);
      process.kill(victim.pid, 'SIGKILL');
      await eventually(`another ${name}`, () => recorded('run/children.json', name).pid !== victim.pid);
    }
    await eventually('the host is up', async () => {
      const { body } = await caller().json<{ hosts: { state: string }[] }>('GET', '/capacity');
      return body.hosts[0]?.state === 'up';
    });
    assert.equal(url(), before);
  });

  it('starts a Redis that was killed again', async () => {
    await start();
    const victim = recorded('redis/redis.pid');
    process.kill(victim.pid, 'SIGKILL');
    await eventually('another Redis', () => recorded('redis/redis.pid').pid !== victim.pid);
    await eventually('it is healthy', async () => (await caller().json('GET', '/health')).status === 200);
  });

  it('has children that end when it was killed, and a successor that goes on', async () => {
    const { up } = await start();
    const left = children();
    await up.end('SIGKILL');
    running = null;
    await eventually('the children have ended', () => !left.some(isAlive));
    await start();
    assert.equal((await caller().json('GET', '/health')).status, 200);
  });

  it('ends at once at a second signal', async () => {
    const { up } = await start();
    const left = children();
    up.kill('SIGINT');
    up.kill('SIGINT');
    // Two at once may be one to the kernel: then it stops in order.
    const { code } = await up.exited;
    assert.ok(code === 130 || code === 0, `exit code ${code}`);
    await eventually('the children have ended', () => !left.some(isAlive));
  });

  it('says so and leaves nothing running when its port is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const address = taken.address();
    assert.ok(address !== null && typeof address === 'object');
    try {
      const { up, log } = launch({ FLASHPODS_LISTEN_ADDR: `127.0.0.1:${address.port}` });
      assert.equal((await up.exited).code, 1);
      assert.match(
        readFileSync(log, 'utf8'),
        /can't listen on .*something else listens there.*--listen-addr/,
      );
      assert.deepEqual(children().filter(isAlive), []);
      assert.throws(() => statSync(data('redis', 'redis.pid')), { code: 'ENOENT' });
    } finally {
      taken.close();
    }
  });
});
