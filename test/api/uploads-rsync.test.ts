import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, readlink, rename, stat } from 'node:fs/promises';
import { symlink, utimes, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { execa } from 'execa';
import { createLogger, type Logger } from '../../src/observability/logger.ts';
import { startRsyncDaemon } from '../../src/uploads/rsync/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { type ApiOptions, type RunningApi, startApi } from './running-api.ts';
import { tarOf } from './tar.ts';

interface Opened {
  upload_id: string;
  rsync_url: string;
  rsync_user: string;
  rsync_password: string;
  base: string | null;
}
interface Answer extends Opened {
  state: string;
  error: string;
  message: string;
  size_bytes: number;
  file_count: number;
}
interface Sent {
  code: number;
  text: string;
}

describe('uploads by rsync', () => {
  let api: RunningApi;
  const writers: ChildProcess[] = [];

  const start = async (options: ApiOptions = {}): Promise<void> => {
    await api?.stop();
    api = await startApi({ rsync: true, ...options });
    await mkdir(source(), { recursive: true });
  };
  beforeEach(() => start());
  afterEach(async () => {
    for (const writer of writers.splice(0)) writer.kill('SIGKILL');
    await api.stop();
  });

  const source = (...parts: string[]): string => join(api.dir, 'source', ...parts);
  const path = (...parts: string[]): string => join(api.dir, 'uploads', ...parts);
  const call = (method: string, url: string, body?: unknown) => api.caller.json<Answer>(method, url, body);
  const open = async (body: unknown = {}): Promise<Opened> => {
    const answer = await call('POST', '/uploads', body);
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    return answer.body;
  };
  const finalize = ({ upload_id: id }: Opened, body: unknown = {}) =>
    call('POST', `/uploads/${id}/finalize`, body);
  const rsync = async (
    upload: Pick<Opened, 'rsync_url' | 'rsync_password'>,
    ...options: string[]
  ): Promise<Sent> => {
    const args = ['-a', ...options, `${source()}/`, upload.rsync_url];
    const env = { RSYNC_PASSWORD: upload.rsync_password };
    const { exitCode, all } = await execa('rsync', args, { env, reject: false, all: true });
    return { code: exitCode ?? -1, text: all ?? '' };
  };
  /** A transfer that is under way until it is ended. */
  const beginSlowly = async (upload: Opened): Promise<ChildProcess> => {
    await writeFile(source('slow'), Buffer.alloc(900_000, 'x'));
    const child = spawn('rsync', ['-a', '--bwlimit=20', `${source()}/`, upload.rsync_url], {
      env: { ...process.env, RSYNC_PASSWORD: upload.rsync_password },
      stdio: 'ignore',
    });
    writers.push(child);
    await eventually('a part of the file is there', async () =>
      (await readdir(path('incoming', upload.upload_id))).some((name) => name.startsWith('.slow.')),
    );
    return child;
  };
  const exitOf = (child: ChildProcess): Promise<number | null> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
      else child.once('exit', (code) => resolve(code));
    });

  it('arrive as they were sent: modes, times, symlinks, empty directories, any name', async () => {
    const name = 'ä b\n'.padEnd(254, 'n');
    await writeFile(source(name), 'hello');
    await writeFile(source('run'), '#!/bin/sh', { mode: 0o755 });
    await writeFile(source('private'), 'p', { mode: 0o600 });
    await utimes(source('run'), 1_000_000_000, 1_000_000_000);
    await mkdir(source('empty'));
    await mkdir(source('d', 'e'), { recursive: true });
    await symlink('../../run', source('d', 'e', 'link'));
    const upload = await open();
    assert.match(upload.rsync_url, /^rsync:\/\/.+@127\.0\.0\.1:\d+\/uploads\/$/);
    assert.equal((await rsync(upload)).code, 0);
    const { status, body } = await finalize(upload);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.file_count, 4);
    const snapshot = path('snapshots', `${upload.upload_id}.layer`, 'work');
    assert.equal(await readFile(join(snapshot, name), 'utf8'), 'hello');
    assert.equal((await stat(join(snapshot, 'run'))).mode & 0o777, 0o755);
    assert.equal((await stat(join(snapshot, 'run'))).mtimeMs, 1_000_000_000_000);
    assert.equal((await stat(join(snapshot, 'private'))).mode & 0o777, 0o600);
    assert.equal(await readlink(join(snapshot, 'd', 'e', 'link')), '../../run');
    assert.deepEqual(await readdir(join(snapshot, 'empty')), []);
    if (process.getuid?.() === 0) assert.equal((await lstat(join(snapshot, 'run'))).uid, 1_000_000);
  });

  it('are for callers with their password, and nobody sees that they exist', async () => {
    await writeFile(source('a'), '1');
    const [one, other] = [await open(), await open()];
    assert.equal((await rsync({ ...one, rsync_password: other.rsync_password })).code, 5);
    assert.equal((await rsync({ ...one, rsync_password: '' })).code, 5);
    const anonymous = { ...one, rsync_url: one.rsync_url.replace(/\/\/.*@/, '//nobody@') };
    assert.equal((await rsync(anonymous)).code, 5);
    const root = one.rsync_url.replace(/uploads\/$/, '');
    assert.equal((await execa('rsync', [root])).stdout.trim(), '');
    // Nor can anything be read.
    const env = { RSYNC_PASSWORD: one.rsync_password };
    assert.notEqual((await execa('rsync', [one.rsync_url], { env, reject: false })).exitCode, 0);
    assert.equal((await rsync(one)).code, 0);
    assert.deepEqual(await readdir(path('incoming', one.upload_id)), ['a']);
    assert.deepEqual(await readdir(path('incoming', other.upload_id)), []);
  });

  it('can’t leave their directory', async () => {
    await writeFile(source('a'), '1');
    const upload = await open();
    for (const way of ['../', '../../', '/../', `../${(await open()).upload_id}/`, '%2e%2e/']) {
      await rsync({ ...upload, rsync_url: `${upload.rsync_url}${way}` });
    }
    await symlink('../../outside', source('link'));
    await symlink('/', source('top'));
    assert.equal((await rsync(upload)).code, 0);
    // Files through the links that are there now.
    await rsync({ ...upload, rsync_url: `${upload.rsync_url}link/` });
    await rsync({ ...upload, rsync_url: `${upload.rsync_url}top/` }, '--keep-dirlinks');
    assert.deepEqual(
      (await readdir(api.dir)).sort(),
      [
        ...new Set([
          'flashpods.db',
          'rsync',
          'source',
          'uploads',
          ...(await readdir(api.dir)).filter((n) => n.startsWith('flashpods.db')),
        ]),
      ].sort(),
    );
    for (const name of await readdir(path('incoming'))) {
      if (name !== upload.upload_id) assert.deepEqual(await readdir(path('incoming', name)), []);
    }
    const { status, body } = await finalize(upload);
    // The file three times, since two of the ways are plain names, and the links.
    assert.deepEqual([status, body.file_count], [200, 5]);
    const snapshot = path('snapshots', `${upload.upload_id}.layer`, 'work');
    assert.equal(await readlink(join(snapshot, 'link')), '../../outside');
    assert.equal(await readlink(join(snapshot, 'top')), '/');
    // Not through the links of a base either.
    const later = await open({ base: upload.upload_id });
    await rsync({ ...later, rsync_url: `${later.rsync_url}link/` }, '--keep-dirlinks');
    await rsync(later, '--keep-dirlinks');
    assert.ok(!existsSync(path('outside')) && !existsSync(join(api.dir, 'outside')));
  });

  it('hold no device and no FIFO', async () => {
    await execa('mkfifo', [source('fifo')]);
    if (process.getuid?.() === 0) await execa('mknod', [source('null'), 'c', '1', '3']);
    const upload = await open();
    await rsync(upload);
    assert.ok(!existsSync(path('incoming', upload.upload_id, 'null')));
    const { status, body } = await finalize(upload);
    assert.equal(status, 400);
    assert.match(body.message, /neither a regular file/);
  });

  it('have one writer, whichever way it comes', async () => {
    const upload = await open();
    const first = await beginSlowly(upload);
    const second = await rsync(upload);
    assert.notEqual(second.code, 0);
    assert.match(second.text, /one at a time/);
    const tar = await api.caller.fetch(`/uploads/${upload.upload_id}/files`, {
      method: 'PUT',
      body: new Uint8Array(await tarOf({ name: 'b', content: '1' })),
      headers: { 'content-type': 'application/x-tar' },
    });
    assert.equal(tar.status, 409);
    first.kill('SIGTERM');
    await exitOf(first);
    // What the first left behind is no obstacle.
    await eventually('it takes another writer', async () => (await rsync(upload)).code === 0);
    assert.equal((await finalize(upload)).status, 200);
  });

  it('end their writers before they are finalized', async () => {
    const upload = await open();
    await writeFile(source('a'), '1');
    assert.equal((await rsync(upload)).code, 0);
    const writer = await beginSlowly(upload);
    const { status, body } = await finalize(upload);
    assert.equal(status, 200);
    assert.equal(body.file_count, 1);
    assert.notEqual(await exitOf(writer), 0);
    assert.deepEqual(await readdir(path('snapshots', `${upload.upload_id}.layer`, 'work')), ['a']);
    const late = await rsync(upload);
    assert.equal(late.code, 5, late.text);
    assert.deepEqual(await readdir(path('snapshots', `${upload.upload_id}.layer`, 'work')), ['a']);
    assert.ok(!existsSync(path('incoming', upload.upload_id)));
  });

  it('fail in mid-stream at the limit of one upload, and leave nothing', async () => {
    await start({ limits: { oneBytes: 300_000 } });
    const upload = await open();
    await writeFile(source('big'), Buffer.alloc(300_001, 'x'));
    assert.notEqual((await rsync(upload)).code, 0);
    assert.ok(!existsSync(path('incoming', upload.upload_id, 'big')));
    // Many small ones, slowly enough that it is seen before they are all there.
    await execa('rm', [source('big')]);
    for (let i = 0; i < 40; i++) await writeFile(source(`small-${i}`), Buffer.alloc(30_000, 'x'));
    const other = await open();
    const sent = await rsync(other, '--bwlimit=600');
    assert.notEqual(sent.code, 0, sent.text);
    await eventually('its tree is gone', () => !existsSync(path('incoming', other.upload_id)));
    assert.equal((await finalize(other)).body.error, 'upload_expired');
  });

  it('count with all others, also with those that came over HTTP', async () => {
    await start({ limits: { totalBytes: 500_000 } });
    const first = await open();
    await api.caller.fetch(`/uploads/${first.upload_id}/files`, {
      method: 'PUT',
      body: new Uint8Array(await tarOf({ name: 'b', content: 'x'.repeat(300_000) })),
      headers: { 'content-type': 'application/x-tar' },
    });
    const second = await open();
    await writeFile(source('a'), Buffer.alloc(250_000, 'x'));
    assert.notEqual((await rsync(second)).code, 0);
    await eventually('the part is gone', () => !existsSync(path('incoming', second.upload_id, 'a')));
    assert.equal((await api.caller.fetch(`/uploads/${first.upload_id}`, { method: 'DELETE' })).status, 204);
    assert.equal((await rsync(await open())).code, 0);
  });

  it('mix with tar streams', async () => {
    const upload = await open();
    const put = async (name: string): Promise<number> => {
      const answer = await api.caller.fetch(`/uploads/${upload.upload_id}/files`, {
        method: 'PUT',
        body: new Uint8Array(await tarOf({ name, content: '1' })),
        headers: { 'content-type': 'application/x-tar' },
      });
      return answer.status;
    };
    assert.equal(await put('d/a'), 200);
    await mkdir(source('d'));
    await writeFile(source('d', 'b'), '22');
    assert.equal((await rsync(upload)).code, 0);
    assert.equal(await put('d/c'), 200);
    const { body } = await finalize(upload);
    assert.equal(body.file_count, 3);
    assert.deepEqual((await readdir(path('snapshots', `${upload.upload_id}.layer`, 'work', 'd'))).sort(), [
      'a',
      'b',
      'c',
    ]);
  });

  it('with a base send and store only what changed, and never touch the base', async () => {
    await start({ limits: { oneBytes: 50_000_000, totalBytes: 200_000_000 } });
    for (let d = 0; d < 50; d++) {
      await mkdir(source(`d${d}`));
      for (let f = 0; f < 100; f++) await writeFile(source(`d${d}`, `f${f}`), `${d} ${f}\n`.repeat(300));
    }
    const base = await open();
    const whole = bytesSent(await rsync(base, '--stats'));
    assert.equal((await finalize(base, { reusable: true })).status, 200);
    const inode = (id: string, ...file: string[]): Promise<number> =>
      stat(path('snapshots', `${id}.layer`, 'work', ...file)).then(({ ino }) => ino);

    await writeFile(source('d7', 'f7'), 'changed');
    await execa('rm', [source('d8', 'f8')]);
    const upload = await open({ base: base.upload_id });
    const again = await rsync(upload, '--stats', '--delete', '--inplace');
    assert.equal(again.code, 0, again.text);
    const total = Number(/Total file size: ([\d,]+)/.exec(again.text)?.[1]?.replaceAll(',', ''));
    const part = bytesSent(again) / total;
    assert.ok(part <= 0.02, `${bytesSent(again)} of ${total} bytes (at first ${whole})`);
    const { status, body } = await finalize(upload);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.file_count, 4_999);
    assert.equal(await inode(upload.upload_id, 'd1', 'f1'), await inode(base.upload_id, 'd1', 'f1'));
    assert.equal(
      await readFile(path('snapshots', `${upload.upload_id}.layer`, 'work', 'd7', 'f7'), 'utf8'),
      'changed',
    );
    assert.equal(
      await readFile(path('snapshots', `${base.upload_id}.layer`, 'work', 'd7', 'f7'), 'utf8'),
      '7 7\n'.repeat(300),
    );
    assert.ok(existsSync(path('snapshots', `${base.upload_id}.layer`, 'work', 'd8', 'f8')));
  });

  it('stay open to their clients when the daemon dies and comes back', async () => {
    await writeFile(source('a'), '1');
    const upload = await open();
    const { rsync: daemon } = api;
    assert.ok(daemon);
    process.kill(daemon.pid, 'SIGKILL');
    await daemon.exited;
    const restarted = await startRsyncDaemon({
      directory: join(api.dir, 'rsync'),
      host: '127.0.0.1',
      port: daemon.port,
      hostsAllow: '127.0.0.1',
      owner: { uid: 1_000_000, gid: 1_000_000 },
      logger: createLogger({ level: 'silent', role: 'test' }),
    });
    try {
      assert.equal(restarted.port, daemon.port);
      assert.equal((await rsync(upload)).code, 0);
    } finally {
      await restarted.stop();
    }
  });

  it('refuse addresses that are not allowed', async () => {
    const daemon = await startRsyncDaemon({
      directory: join(api.dir, 'strict'),
      host: '127.0.0.1',
      port: 0,
      hostsAllow: '192.0.2.1',
      owner: null,
      logger: createLogger({ level: 'silent', role: 'test' }),
    });
    try {
      const url = `rsync://127.0.0.1:${daemon.port}/uploads/`;
      const { exitCode, all } = await execa('rsync', ['-a', `${source()}/`, url], {
        reject: false,
        all: true,
      });
      assert.notEqual(exitCode, 0);
      assert.match(all, /access denied|unknown module/i);
    } finally {
      await daemon.stop();
    }
  });

  it('come over at most ten connections at once', async () => {
    await writeFile(source('a'), '1');
    const upload = await open();
    const sockets: Socket[] = [];
    try {
      for (let i = 0; i < 10; i++) {
        const socket = connect(api.rsync?.port ?? 0, '127.0.0.1');
        sockets.push(socket);
        let text = '';
        socket.on('error', () => undefined).on('data', (bytes: Buffer) => (text += bytes.toString('latin1')));
        socket.write('@RSYNCD: 31.0 sha512 md5\nuploads\n');
        await eventually('the daemon asks for a password', () => text.includes('AUTHREQD'));
      }
      const eleventh = await rsync(upload);
      assert.notEqual(eleventh.code, 0);
      assert.match(eleventh.text, /max connections \(10\) reached/);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    await eventually('there is room again', async () => (await rsync(upload)).code === 0);
  });

  it('write no password into the log, nor into the command line of a process', async () => {
    const lines: string[] = [];
    const logger = spy(lines);
    await start({ logger });
    await writeFile(source('a'), '1');
    const upload = await open();
    assert.equal((await rsync(upload)).code, 0);
    await rsync({ ...upload, rsync_password: 'wrong-password' });
    const log = (): Promise<string> => readFile(join(api.dir, 'rsync', 'rsyncd.log'), 'utf8');
    await eventually('the log tells of it', async () => (await log()).includes('auth failed'));
    assert.ok(!(await log()).includes(upload.rsync_password));
    assert.ok(!lines.some((line) => line.includes(upload.rsync_password)));
    assert.equal((await stat(join(api.dir, 'rsync', 'secrets'))).mode & 0o777, 0o600);
    assert.equal((await stat(join(api.dir, 'rsync', 'rsyncd.conf'))).mode & 0o777, 0o600);
    const processes = await execa('ps', ['-eo', 'args']);
    assert.ok(!processes.stdout.includes(upload.rsync_password));
  });

  it('go on from where a broken transfer stopped', async () => {
    const upload = await open();
    const child = await beginSlowly(upload);
    child.kill('SIGKILL');
    await exitOf(child);
    await eventually('it can be sent again', async () => (await rsync(upload)).code === 0);
    assert.deepEqual(await readdir(path('incoming', upload.upload_id)), ['slow']);
    await chmod(source('slow'), 0o600);
    await rename(source('slow'), source('fast'));
    assert.equal((await rsync(upload, '--delete')).code, 0);
    assert.equal((await finalize(upload)).body.file_count, 1);
  });
});

const bytesSent = ({ text }: Sent): number =>
  Number(/Total bytes sent: ([\d,]+)/.exec(text)?.[1]?.replaceAll(',', ''));

function spy(lines: string[]): Logger {
  const write = (...parts: unknown[]): void => void lines.push(JSON.stringify(parts));
  const logger: Logger = {
    debug: write,
    info: write,
    warn: write,
    error: write,
    fatal: write,
    child: () => logger,
  };
  return logger;
}
