import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rename, stat, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { LocalSnapshotStore } from '../../src/uploads/local-snapshot-store.ts';
import { NO_RSYNC } from '../../src/uploads/rsync/rsync.ts';
import { UploadService } from '../../src/uploads/service.ts';
import { treeIds } from '../../src/uploads/tree.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { makeCompleted } from './job-states.ts';
import { type ApiOptions, GENEROUS, type RunningApi, startApi } from './running-api.ts';
import { type Entry, tarOf } from './tar.ts';

interface UploadAnswer {
  upload_id: string;
  state: string;
  error: string;
  message: string;
  size_bytes: number | null;
  file_count: number | null;
  job_id: string | null;
  expires_at: string;
  received: { files: number; bytes: number };
  details: { field?: string };
}

describe('uploads', () => {
  let api: RunningApi;

  const start = async (options: ApiOptions = {}): Promise<void> => {
    await api?.stop();
    api = await startApi(options);
  };
  beforeEach(() => start());
  afterEach(async () => {
    await api.stop();
  });

  const path = (...parts: string[]): string => join(api.dir, 'uploads', ...parts);
  const call = (method: string, url: string, body?: unknown) =>
    api.caller.json<UploadAnswer>(method, url, body);
  const open = async (): Promise<string> => (await call('POST', '/uploads', {})).body.upload_id;
  const put = async (
    id: string,
    body: Buffer,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: UploadAnswer }> => {
    const answer = await api.caller.fetch(`/uploads/${id}/files`, {
      method: 'PUT',
      body: new Uint8Array(body),
      headers: { 'content-type': 'application/x-tar', ...headers },
    });
    return { status: answer.status, body: (await answer.json()) as UploadAnswer };
  };
  const finalize = (id: string, body: unknown = {}) => call('POST', `/uploads/${id}/finalize`, body);
  /** Begins a stream by hand and leaves it open. */
  const begin = async (id: string, part: Buffer): Promise<Socket> => {
    const socket = connect(api.port, '127.0.0.1');
    socket.on('error', () => undefined);
    const head =
      `PUT /uploads/${id}/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\n` +
      `Content-Type: application/x-tar\r\nContent-Length: 100000\r\n\r\n`;
    socket.write(head);
    socket.write(part);
    await eventually('the stream is being stored', () => existsSync(path('incoming', `${id}.unfinished`)));
    return socket;
  };
  const answerOf = async (socket: Socket): Promise<string> => {
    let text = '';
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      text += chunk.toString();
      if (/\}\s*$/.test(text)) break;
    }
    return text;
  };

  it('become a snapshot that a job can name', async () => {
    const created = await call('POST', '/uploads', {});
    assert.equal(created.status, 201);
    assert.equal(created.headers.get('location'), `/uploads/${created.body.upload_id}`);
    assert.equal(created.body.state, 'uploading');
    const id = created.body.upload_id;
    const sent = await put(
      id,
      await tarOf(
        { name: 'src/', type: 'directory', mode: 0o755 },
        { name: 'src/a b\n.c', mode: 0o644, content: 'hello' },
        { name: 'run', mode: 0o755, content: '#!/bin/sh' },
        { name: 'link', type: 'symlink', linkname: 'src/a b\n.c' },
        { name: 'empty/', type: 'directory', mode: 0o755 },
      ),
    );
    assert.equal(sent.status, 200, JSON.stringify(sent.body));
    assert.deepEqual(sent.body.received, { files: 3, bytes: 14 });

    const finalized = await finalize(id);
    assert.equal(finalized.status, 200);
    assert.equal(finalized.body.state, 'finalized');
    assert.equal(finalized.body.size_bytes, 14);
    assert.equal(finalized.body.file_count, 3);
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'src', 'a b\n.c'), 'utf8'), 'hello');
    assert.equal((await stat(path('snapshots', `${id}.layer`, 'work', 'run'))).mode & 0o777, 0o755);
    assert.equal(await readlink(path('snapshots', `${id}.layer`, 'work', 'link')), 'src/a b\n.c');
    assert.deepEqual(await readdir(path('snapshots', `${id}.layer`, 'work', 'empty')), []);
    assert.ok(!existsSync(path('incoming', id)));

    const job = await api.caller.json('POST', '/jobs', { type: 'worker', command: 'true', files_id: id });
    assert.equal(job.status, 201);
    assert.equal((await call('GET', `/uploads/${id}`)).body.job_id, job.body['job_id']);
    const second = await api.caller.json('POST', '/jobs', { type: 'worker', command: 'true', files_id: id });
    assert.equal(second.status, 409);
    assert.equal(second.body['error'], 'upload_already_consumed');
    const deleted = await call('DELETE', `/uploads/${id}`);
    assert.equal(deleted.status, 409);
    assert.equal(deleted.body.error, 'upload_already_consumed');
    assert.ok(existsSync(path('snapshots', `${id}.layer`, 'work')));
  });

  it('may bring an id of their own, once', async () => {
    const id = 'upload_my-own-id-42';
    assert.equal((await call('POST', '/uploads', { upload_id: id })).body.upload_id, id);
    const again = await call('POST', '/uploads', { upload_id: id });
    assert.equal(again.status, 400);
    assert.equal(again.body.details.field, 'upload_id');
    for (const wrong of ['upload_../../../etc', 'upload_short', 'x', 5]) {
      const refused = await call('POST', '/uploads', { upload_id: wrong });
      assert.equal(refused.status, 400);
      assert.equal(refused.body.details.field, 'upload_id');
    }
  });

  it('take several streams, one after another', async () => {
    const id = await open();
    assert.equal(
      (await put(id, await tarOf({ name: 'a', content: '1' }, { name: 'b', content: '1' }))).status,
      200,
    );
    assert.equal(
      (await put(id, await tarOf({ name: 'b', content: '22' }, { name: 'c', content: '3' }))).status,
      200,
    );
    assert.equal((await finalize(id)).body.file_count, 3);
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'b'), 'utf8'), '22');
  });

  it('take gzip', async () => {
    const id = await open();
    const tar = await tarOf({ name: 'a', content: 'zipped' });
    assert.equal((await put(id, gzipSync(tar), { 'content-encoding': 'gzip' })).status, 200);
    await finalize(id);
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'a'), 'utf8'), 'zipped');
    const other = await open();
    const broken = await put(other, tar, { 'content-encoding': 'gzip' });
    assert.equal(broken.status, 400);
    assert.match(broken.body.message, /gzip/);
    const cut = await put(other, gzipSync(tar).subarray(0, -12), { 'content-encoding': 'gzip' });
    assert.equal(cut.status, 400);
    assert.ok(!existsSync(path('incoming', other)));
  });

  it('take zstd', async () => {
    const id = await open();
    const tar = await tarOf({ name: 'a', content: 'small' });
    assert.equal((await put(id, zstdCompressSync(tar), { 'content-encoding': 'zstd' })).status, 200);
    await finalize(id);
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'a'), 'utf8'), 'small');
    const other = await open();
    for (const broken of [tar, zstdCompressSync(tar).subarray(0, -8), gzipSync(tar)]) {
      const { status, body } = await put(other, broken, { 'content-encoding': 'zstd' });
      assert.equal(status, 400);
      assert.match(body.message, /zstd/);
      assert.ok(!existsSync(path('incoming', other)));
    }
  });

  it('are refused under another type or encoding', async () => {
    const id = await open();
    const tar = await tarOf({ name: 'a', content: '1' });
    assert.equal((await put(id, tar, { 'content-type': 'application/zip' })).status, 415);
    assert.equal((await put(id, tar, { 'content-encoding': 'br' })).status, 415);
  });

  it('take nothing more once they are finalized', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1' }));
    await finalize(id);
    const late = await put(id, await tarOf({ name: 'a', content: 'changed' }));
    assert.equal(late.status, 409);
    assert.equal(late.body.error, 'upload_already_finalized');
    assert.equal((await finalize(id)).body.error, 'upload_already_finalized');
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'a'), 'utf8'), '1');
  });

  it('are unknown, or no ids at all: 404', async () => {
    const tar = await tarOf({ name: 'a', content: '1' });
    for (const id of ['upload_aaaaaaaaaaaa', 'x', '..%2f..%2fetc', '%00']) {
      assert.equal((await call('GET', `/uploads/${id}`)).body.error, 'upload_not_found');
      assert.equal((await put(id, tar)).body.error, 'upload_not_found');
      assert.equal((await finalize(id)).body.error, 'upload_not_found');
      assert.equal((await call('DELETE', `/uploads/${id}`)).body.error, 'upload_not_found');
    }
  });

  it('refuse hostile tars with a 4xx, and leave nothing of them', async () => {
    const hostile: Entry[][] = [
      [{ name: '../escaped', content: 'x' }],
      [{ name: '/absolute-escaped', content: 'x' }],
      [{ name: 'a/../../escaped', content: 'x' }],
      [
        { name: 'out', type: 'symlink', linkname: '..' },
        { name: 'out/escaped', content: 'x' },
      ],
      [{ name: 'hard', type: 'link', linkname: '/etc/passwd' }],
      [{ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }],
      [{ name: 'pipe', type: 'fifo' }],
    ];
    for (const entries of hostile) {
      const id = await open();
      const { status, body } = await put(id, await tarOf({ name: 'good', content: 'x' }, ...entries));
      assert.equal(status, 400, JSON.stringify(entries));
      assert.equal(body.error, 'invalid_request');
      assert.ok(!body.message.includes(api.dir), body.message);
      assert.ok(!existsSync(path('incoming', id)), JSON.stringify(entries));
    }
    for (const body of [Buffer.from('no tar'), randomBytes(5_000), Buffer.alloc(0)]) {
      assert.equal((await put(await open(), body)).status, 400);
    }
    assert.ok(!existsSync(path('escaped')) && !existsSync(path('incoming', 'escaped')));
    assert.ok(!existsSync('/absolute-escaped'));
  });

  it('are over when a later stream breaks, since nobody could tell what they hold', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1' }));
    assert.equal((await put(id, Buffer.from('no tar'))).status, 400);
    const { body } = await finalize(id);
    assert.equal(body.error, 'upload_expired');
    assert.ok(!existsSync(path('incoming', id)));
  });

  it('forget a stream whose client goes away, and take another', async () => {
    const id = await open();
    const tar = await tarOf(
      { name: 'a', content: 'x'.repeat(3_000) },
      { name: 'b', content: 'y'.repeat(3_000) },
    );
    const socket = await begin(id, tar.subarray(0, 4_500));
    socket.destroy();
    await eventually('the partial tree is gone', () => !existsSync(path('incoming', `${id}.unfinished`)));
    assert.ok(!existsSync(path('incoming', id)));
    assert.equal((await put(id, tar)).status, 200);
    assert.equal((await finalize(id)).body.file_count, 2);
  });

  it('give a silent stream up', async () => {
    await start({ limits: { idleMs: 200 } });
    const id = await open();
    const socket = await begin(id, (await tarOf({ name: 'a', content: '1' })).subarray(0, 600));
    const answer = await answerOf(socket);
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.match(answer, /nothing came for/);
    socket.destroy();
    assert.ok(!existsSync(path('incoming', id)));
  });

  it('take one stream at a time', async () => {
    const id = await open();
    const tar = await tarOf({ name: 'a', content: 'x'.repeat(3_000) });
    const socket = await begin(id, tar.subarray(0, 1_000));
    const second = await put(id, tar);
    assert.equal(second.status, 409);
    assert.match(second.body.message, /one at a time/);
    socket.destroy();
  });

  it('end a stream that is still coming before they are finalized', async () => {
    const id = await open();
    const tar = await tarOf({ name: 'a', content: 'first' }, { name: 'b', content: 'x'.repeat(3_000) });
    const socket = await begin(id, tar.subarray(0, 1_600));
    await eventually('the first file is there', () => existsSync(path('incoming', id, 'a')));
    const finalized = await finalize(id);
    assert.equal(finalized.status, 200);
    socket.write(tar.subarray(1_600));
    assert.match(await answerOf(socket), /^HTTP\/1\.1 409 /);
    assert.deepEqual((await readdir(path('snapshots', `${id}.layer`, 'work'))).sort(), ['a']);
    assert.equal(finalized.body.file_count, 1);
    socket.destroy();
  });

  it('refuse what exceeds the limit of one upload, and remove the part', async () => {
    await start({ limits: { oneBytes: 10_000 } });
    const id = await open();
    assert.equal((await put(id, await tarOf({ name: 'a', content: 'x'.repeat(10_000) }))).status, 200);
    const other = await open();
    const refused = await put(other, await tarOf({ name: 'a', content: 'x'.repeat(10_001) }));
    assert.equal(refused.status, 507);
    assert.equal(refused.body.error, 'insufficient_storage');
    assert.ok(!existsSync(path('incoming', other)));
    // Two streams that exceed it together.
    assert.equal((await put(other, await tarOf({ name: 'a', content: 'x'.repeat(6_000) }))).status, 200);
    assert.equal((await put(other, await tarOf({ name: 'b', content: 'x'.repeat(6_000) }))).status, 507);
    assert.ok(!existsSync(path('incoming', other)));
  });

  it('refuse a bomb of zeros long before it is unpacked', async () => {
    const id = await open();
    const bomb = gzipSync(await tarOf({ name: 'zeros', content: Buffer.alloc(20_000_000) }));
    assert.ok(bomb.length < 100_000);
    const { status } = await put(id, bomb, { 'content-encoding': 'gzip' });
    assert.equal(status, 507);
    assert.ok(!existsSync(path('incoming', id)));
  });

  it('refuse endless zeros, and headers that would fill the memory, soon', async () => {
    await start({ limits: { oneBytes: 2 ** 40, totalBytes: 2 ** 40 } });
    const id = await open();
    const zeros = Buffer.alloc(64 * 2 ** 20);
    const tar = await tarOf({ name: 'a', content: '1' });
    const endless = zstdCompressSync(Buffer.concat([tar, zeros]));
    assert.ok(endless.length < 10_000);
    const refused = await put(id, endless, { 'content-encoding': 'zstd' });
    assert.equal(refused.status, 400);
    assert.match(refused.body.message, /much longer/);
    const header = tar.subarray(0, 512);
    // A long name of 64 MB.
    header.write('L', 156);
    header.write((64 * 2 ** 20).toString(8).padStart(11, '0'), 124);
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const long = await put(id, gzipSync(Buffer.concat([header, zeros, tar])), { 'content-encoding': 'gzip' });
    assert.equal(long.status, 400);
    assert.ok(!existsSync(path('incoming', id)));
  });

  it('begin with an earlier one, and hold only what changed beside it', async () => {
    const first = await open();
    await put(
      first,
      await tarOf(
        { name: 'kept/a', content: 'a' },
        { name: 'kept/link', type: 'symlink', linkname: 'a' },
        { name: 'changed', content: 'old' },
        { name: 'gone', content: 'x' },
        { name: 'old/b', content: 'b' },
        { name: 'swapped/c', content: 'c' },
        { name: 'empty/', type: 'directory', mode: 0o750 },
      ),
    );
    await finalize(first, { reusable: true });
    const opened = await call('POST', '/uploads', { base: first });
    assert.equal(opened.status, 201);
    const id = opened.body.upload_id;
    const sent = await put(
      id,
      await tarOf(
        { name: 'changed', content: 'newer' },
        { name: 'kept/new', content: 'n' },
        { name: 'swapped', content: 'a file now' },
      ),
    );
    assert.equal(sent.status, 200);
    const { status, body } = await finalize(id, { delete: ['gone', 'old/'] });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.file_count, 5);
    const file = (upload: string, ...name: string[]) => path('snapshots', `${upload}.layer`, 'work', ...name);
    assert.deepEqual((await readdir(file(id))).sort(), ['changed', 'empty', 'kept', 'swapped']);
    assert.deepEqual((await readdir(file(id, 'kept'))).sort(), ['a', 'link', 'new']);
    assert.equal(await readFile(file(id, 'changed'), 'utf8'), 'newer');
    assert.equal(await readFile(file(first, 'changed'), 'utf8'), 'old');
    assert.equal((await stat(file(id, 'kept', 'a'))).ino, (await stat(file(first, 'kept', 'a'))).ino);
    assert.equal((await stat(file(id, 'empty'))).mode & 0o777, 0o750);
    assert.deepEqual(
      (await readdir(path('snapshots'))).sort(),
      [first, id].map((each) => `${each}.layer`).sort(),
    );
    // The base may go: what is shared stays.
    assert.equal((await api.caller.fetch(`/uploads/${first}`, { method: 'DELETE' })).status, 204);
    assert.equal(await api.uploads.sweep(), 1);
    assert.equal(await readFile(file(id, 'kept', 'a'), 'utf8'), 'a');
  });

  it('keep their base while they take files', async () => {
    const first = await open();
    await put(first, await tarOf({ name: 'a', content: '1' }));
    await finalize(first);
    const { upload_id: id } = (await call('POST', '/uploads', { base: first })).body;
    assert.equal((await api.caller.fetch(`/uploads/${first}`, { method: 'DELETE' })).status, 204);
    assert.equal(await api.uploads.sweep(), 0);
    assert.equal((await finalize(id)).body.file_count, 1);
    assert.equal(await api.uploads.sweep(), 1);
    assert.deepEqual(await readdir(path('snapshots')), [`${id}.layer`]);
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'a'), 'utf8'), '1');
  });

  it('refuse a base that is not there, and deletions that make no sense', async () => {
    const begun = await open();
    assert.equal((await call('POST', '/uploads', { base: begun })).body.error, 'upload_not_finalized');
    for (const base of ['upload_aaaaaaaaaaaa', '../x']) {
      assert.equal((await call('POST', '/uploads', { base })).body.error, 'upload_not_found');
    }
    await put(begun, await tarOf({ name: 'a', content: '1' }));
    const without = await finalize(begun, { delete: ['a'] });
    assert.equal(without.status, 400);
    assert.equal(without.body.details.field, 'delete');
    await finalize(begun, { reusable: true });
    const { upload_id: id } = (await call('POST', '/uploads', { base: begun })).body;
    for (const wrong of ['../a', '/etc', 'a/../b', './a', '\0']) {
      const refused = await finalize(id, { delete: [wrong] });
      assert.equal(refused.status, 400, wrong);
      assert.equal(refused.body.details.field, 'delete.0');
    }
    assert.equal((await finalize(id)).body.file_count, 1);
    await api.caller.fetch(`/uploads/${begun}`, { method: 'DELETE' });
    await api.uploads.sweep();
    assert.equal((await call('POST', '/uploads', { base: begun })).body.error, 'upload_expired');
  });

  it('begin where a directory appears without anybody asking, and expire like all others', async () => {
    const id = 'upload_stranger-002';
    await mkdir(path('incoming', id), { recursive: true });
    await writeFile(path('incoming', id, 'f'), 'x');
    const seen = await call('GET', `/uploads/${id}`);
    assert.equal(seen.status, 200);
    assert.equal(seen.body.state, 'uploading');
    assert.ok(Date.parse(seen.body.expires_at) > Date.now());
    assert.equal((await finalize(id)).body.file_count, 1);
    assert.equal(await readFile(path('snapshots', `${id}.layer`, 'work', 'f'), 'utf8'), 'x');
  });

  it('count all together, also those that are not finalized, also after a restart', async () => {
    await start({ limits: { totalBytes: 30_000 } });
    const tar = await tarOf({ name: 'a', content: 'x'.repeat(10_000) });
    const first = await open();
    assert.equal((await put(first, tar)).status, 200);
    await finalize(first);
    const second = await open();
    assert.equal((await put(second, tar)).status, 200);
    const third = await open();
    const refused = await put(third, tar);
    assert.equal(refused.status, 507);
    assert.match(refused.body.message, /together/);

    const restarted = new UploadService({
      store: api.uploadStore,
      snapshots: new LocalSnapshotStore(path('snapshots'), null),
      incomingPath: path('incoming'),
      limits: { ...GENEROUS, totalBytes: 30_000 },
      rsync: NO_RSYNC,
      logger: silent,
    });
    await assert.rejects(restarted.receive(third, null, Readable.from([tar]), 'identity'), {
      code: 'insufficient_storage',
    });

    await api.caller.fetch(`/uploads/${second}`, { method: 'DELETE' });
    assert.equal((await put(third, tar)).status, 200);
  });

  it('go when they are deleted, and are gone for good', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1' }));
    await finalize(id);
    const deleted = await api.caller.fetch(`/uploads/${id}`, { method: 'DELETE' });
    assert.equal(deleted.status, 204);
    assert.ok(!existsSync(path('snapshots', `${id}.layer`, 'work')));
    assert.equal((await call('GET', `/uploads/${id}`)).body.state, 'expired');
    assert.equal((await call('DELETE', `/uploads/${id}`)).status, 410);
    assert.equal((await put(id, await tarOf({ name: 'a', content: '1' }))).status, 410);
    const job = await api.caller.json('POST', '/jobs', { type: 'worker', command: 'true', files_id: id });
    assert.equal(job.status, 410);
  });

  it('expire, and the sweep removes them, each once and completely', async () => {
    await start({ limits: { openMs: 1, unusedMs: 1 } });
    const id = await open();
    await eventually(
      'it is past its time',
      async () => (await call('GET', `/uploads/${id}`)).body.state === 'expired',
    );
    assert.equal((await put(id, await tarOf({ name: 'a', content: '1' }))).body.error, 'upload_expired');

    await start({ limits: { unusedMs: 1 } });
    const other = await open();
    await put(other, await tarOf({ name: 'a', content: '1' }));
    assert.equal((await finalize(other)).status, 200);
    await mkdir(path('incoming', 'no-upload'), { recursive: true });
    await writeFile(path('incoming', 'no-upload', 'f'), 'x');
    const stranger = 'upload_stranger-001';
    await mkdir(path('incoming', stranger));
    const kept = await open();
    await put(kept, await tarOf({ name: 'a', content: '1' }));
    assert.equal(await eventually('it is past its time', () => api.uploads.sweep()), 2);
    assert.equal(await api.uploads.sweep(), 0);
    assert.deepEqual(await readdir(path('snapshots')), []);
    assert.deepEqual((await readdir(path('incoming'))).sort(), [kept, stranger].sort());
    assert.equal((await api.uploadStore.get(stranger))?.state, 'uploading');
    assert.equal(await api.uploadStore.storedBytes(), 0);
  });

  it('keep the files of a job until it has ended, and then for another run of it while there is room', async () => {
    await start({ limits: { oneBytes: 1_000_000, totalBytes: 1_500_000 } });
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1'.repeat(600_000) }));
    await finalize(id);
    const job = await api.caller.submit('true', { files_id: id });
    const isThere = (): boolean => existsSync(path('snapshots', `${id}.layer`, 'work', 'a'));
    await makeCompleted(api.store, job);
    assert.equal((await call('GET', `/uploads/${id}`)).body.state, 'consumed');
    assert.equal(await api.uploads.sweep(), 0);
    assert.ok(isThere());
    const other = await api.caller.json('POST', '/jobs', { type: 'worker', command: 'true', files_id: id });
    assert.equal((other.body as { error: string }).error, 'upload_already_consumed');
    const again = await api.caller.json<{ job_id: string }>('POST', `/jobs/${job}/rerun`, {});
    assert.equal(again.status, 201, JSON.stringify(again.body));
    // Somebody needs it: another upload has to do with what room is left.
    await open();
    assert.ok(isThere());
    await makeCompleted(api.store, again.body.job_id);
    await open();
    assert.ok(!isThere());
    const late = await api.caller.json<{ error: string }>('POST', `/jobs/${job}/rerun`, {});
    assert.deepEqual([late.status, late.body.error], [409, 'upload_already_consumed']);
  });

  it('are free again at once when their job never ran', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1' }));
    await finalize(id);
    const job = await api.caller.submit('true', { files_id: id });
    assert.equal((await call('GET', `/uploads/${id}`)).body.job_id, job);
    assert.equal((await api.caller.fetch(`/jobs/${job}`, { method: 'DELETE' })).status, 200);
    const { body } = await call('GET', `/uploads/${id}`);
    assert.deepEqual([body.state, body.job_id], ['finalized', null]);
    await api.caller.submit('true', { files_id: id });
  });

  it('live as long as something comes, and no stream is told that it is stored when they are over', async () => {
    const tar = await tarOf({ name: 'a', content: '1'.repeat(50_000) });
    const slowly = (id: string, seconds: number): Promise<Response> => {
      let sent = 0;
      const piece = Math.ceil(tar.length / (seconds * 20));
      const body = new ReadableStream({
        async pull(controller) {
          await delay(50);
          controller.enqueue(tar.subarray(sent, (sent += piece)));
          if (sent >= tar.length) controller.close();
        },
      });
      const headers = { 'Content-Type': 'application/x-tar' };
      return api.caller.fetch(`/uploads/${id}/files`, { method: 'PUT', body, headers, duplex: 'half' });
    };
    await start({ limits: { openMs: 2_000 } });
    const id = await open();
    assert.equal((await slowly(id, 4)).status, 200);
    assert.equal((await finalize(id)).status, 200);
    await start({ limits: { openMs: 500, openAtMostMs: 1_000 } });
    const late = await open();
    const answer = await slowly(late, 4);
    assert.deepEqual(
      [answer.status, ((await answer.json()) as { error: string }).error],
      [410, 'upload_expired'],
    );
    assert.equal((await call('GET', `/uploads/${late}`)).body.state, 'expired');
  });

  it('say so when they hold no files', async () => {
    const id = await open();
    await finalize(id);
    const request = { type: 'worker', command: 'true', files_id: id };
    const { body } = await api.caller.json<{ notes: string[] }>('POST', '/jobs', request);
    assert.deepEqual(body.notes, ['The upload holds no files: /work is empty.']);
  });

  it('are shared by many jobs if they are reusable, and deleted after the last of them', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1' }));
    await finalize(id, { reusable: true });
    const first = await api.caller.submit('true', { files_id: id });
    const second = await api.caller.submit('true', { files_id: id });
    await makeCompleted(api.store, first);
    assert.equal((await api.caller.fetch(`/uploads/${id}`, { method: 'DELETE' })).status, 204);
    assert.equal(await api.uploads.sweep(), 0);
    assert.ok(existsSync(path('snapshots', `${id}.layer`, 'work', 'a')));
    await makeCompleted(api.store, second);
    assert.equal(await api.uploads.sweep(), 1);
    assert.ok(!existsSync(path('snapshots', `${id}.layer`, 'work')));
  });

  it('can be finalized again after a crash between its steps', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '12345' }));
    // As a crash after the rename leaves it.
    await mkdir(path('snapshots', `${id}.layer`), { recursive: true });
    await rename(path('incoming', id), path('snapshots', `${id}.layer`, 'work'));
    const late = await put(id, await tarOf({ name: 'b', content: '1' }));
    assert.equal(late.status, 409);
    const { status, body } = await finalize(id);
    assert.equal(status, 200);
    assert.equal(body.size_bytes, 5);
    assert.deepEqual(await readdir(path('snapshots', `${id}.layer`, 'work')), ['a']);
  });

  it('drop what a stream left that died with its process', async () => {
    const id = await open();
    await mkdir(path('incoming', id), { recursive: true });
    await writeFile(path('incoming', id, 'half'), 'x');
    await writeFile(path('incoming', `${id}.unfinished`), 'first');
    assert.equal((await put(id, await tarOf({ name: 'a', content: '1' }))).status, 200);
    assert.equal((await finalize(id)).body.file_count, 1);

    const other = await open();
    await mkdir(path('incoming', other), { recursive: true });
    await writeFile(path('incoming', `${other}.unfinished`), 'more');
    assert.equal((await finalize(other)).body.error, 'upload_expired');
  });

  it('give their snapshot to the containers’ root', async () => {
    // Only root may give files away; everybody else keeps them.
    const owner = process.getuid?.() === 0 ? 1_000_000 : process.getuid?.();
    const service = new UploadService({
      store: api.uploadStore,
      snapshots: new LocalSnapshotStore(path('snapshots'), treeIds(1_000_000)),
      incomingPath: path('incoming'),
      limits: GENEROUS,
      rsync: NO_RSYNC,
      logger: silent,
    });
    const id = await open();
    await put(id, await tarOf({ name: 'd/a', content: '1', mode: 0o4755 }));
    await service.finalize(id, null, { reusable: false });
    for (const file of ['', 'd', 'd/a']) {
      const { uid, gid } = await lstat(path('snapshots', `${id}.layer`, 'work', file));
      assert.equal(uid, owner, file);
      if (owner === 1_000_000) assert.equal(gid, owner, file);
    }
    assert.equal((await lstat(path('snapshots', `${id}.layer`, 'work', 'd/a'))).mode & 0o7777, 0o755);
  });

  it('answer one of two finalizations at once', async () => {
    const id = await open();
    await put(id, await tarOf({ name: 'a', content: '1' }));
    const answers = await Promise.all([finalize(id), finalize(id)]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409]);
  });
});
