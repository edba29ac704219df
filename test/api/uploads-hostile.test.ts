import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { execa } from 'execa';
import { Caller } from '../support/http.ts';
import { eventually } from '../support/eventually.ts';
import { make } from '../trees/hostile.ts';
import { paxEntry, rawEntry, type RawEntry, rawTar, TAR_END } from '../uploads/tar/raw-tar.ts';
import { type ApiOptions, type RunningApi, startApi } from './running-api.ts';

interface Answer {
  upload_id: string;
  rsync_url: string;
  rsync_password: string;
  state: string;
  error: string;
  message: string;
  size_bytes: number;
}

const MB = 2 ** 20;

describe('uploads of somebody hostile', () => {
  let api: RunningApi;
  let other: Caller;

  const start = async (options: ApiOptions = {}): Promise<void> => {
    await api?.stop();
    api = await startApi(options);
    const scopes = ['uploads:write', 'jobs:write', 'jobs:read'];
    const made = await api.caller.json('POST', '/tokens', { name: 'other', owner: 'other', scopes });
    other = new Caller(api.caller.url, String(made.body['token']));
  };
  beforeEach(() => start());
  afterEach(() => api.stop());

  const path = (...parts: string[]): string => join(api.dir, 'uploads', ...parts);
  const open = async (caller = api.caller, body: unknown = {}): Promise<Answer> =>
    (await caller.json<Answer>('POST', '/uploads', body)).body;
  const put = async (
    { upload_id: id }: Answer,
    body: Buffer,
    { caller = api.caller, zstd = false } = {},
  ): Promise<{ status: number; body: Answer }> => {
    const answer = await caller.fetch(`/uploads/${id}/files`, {
      method: 'PUT',
      body: new Uint8Array(body),
      headers: { 'content-type': 'application/x-tar', ...(zstd ? { 'content-encoding': 'zstd' } : {}) },
    });
    return { status: answer.status, body: (await answer.json()) as Answer };
  };
  const finalize = ({ upload_id: id }: Answer, body: unknown = {}, caller = api.caller) =>
    caller.json<Answer>('POST', `/uploads/${id}/finalize`, body);
  const directories = (count: number, prefix: string): Buffer =>
    rawTar(
      ...Array.from({ length: count }, (_, index): RawEntry => ({ name: `${prefix}${index}`, type: '5' })),
    );
  const rsync = async (
    { rsync_url: url, rsync_password: password }: Answer,
    source: string,
    ...options: string[]
  ): Promise<{ code: number | undefined; text: string }> => {
    const { exitCode, all } = await execa('rsync', ['-r', ...options, `${source}/`, url], {
      env: { RSYNC_PASSWORD: password },
      reject: false,
      all: true,
    });
    return { code: exitCode, text: all ?? '' };
  };

  it('with a global header of very many fields are refused, at once', async () => {
    const fields = Object.fromEntries(Array.from({ length: 8_000 }, (_, index) => [`k${index}`, 'v']));
    const header = paxEntry(fields);
    header.write('g', 156);
    header.fill(' ', 148, 156);
    const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0`, 148);
    const entries = Array.from({ length: 100 }, (_, index) => [
      paxEntry({ mode: '1' }),
      rawEntry({ name: `f${index}` }),
    ]);
    const tar = Buffer.concat([header, ...entries.flat(), TAR_END]);
    const { status, body } = await put(await open(), zstdCompressSync(tar), { zstd: true });
    assert.equal(status, 400);
    assert.match(body.message, /not a whole tar/);
  });

  it('count their entries through all streams, each for 4 KiB at least', async () => {
    const upload = await open(); // of 1,000,000 bytes: 244 entries
    assert.equal((await put(upload, directories(100, 'a'))).status, 200);
    assert.equal((await put(upload, directories(100, 'b'))).status, 200);
    const { status, body } = await put(upload, directories(100, 'c'));
    assert.deepEqual([status, body.error], [507, 'insufficient_storage']);
    assert.ok(!existsSync(path('incoming', upload.upload_id)));
  });

  it('want no window of zstd of more than 8 MiB', async () => {
    const tar = rawTar({ name: 'a', content: 'x'.repeat(1000) });
    const wide = zstdCompressSync(Buffer.concat([tar, Buffer.alloc(20 * MB)]), {
      params: { [constants.ZSTD_c_windowLog]: 27, [constants.ZSTD_c_enableLongDistanceMatching]: 1 },
    });
    const { status, body } = await put(await open(), wide, { zstd: true });
    assert.equal(status, 400);
    assert.match(body.message, /window of more than 8 MiB/);
  });

  it('are four streams of an owner at once at most', async () => {
    const sockets: Socket[] = [];
    try {
      for (let stream = 0; stream < 4; stream++) {
        const { upload_id: id } = await open();
        const socket = connect(api.port, '127.0.0.1').on('error', () => undefined);
        sockets.push(socket);
        socket.write(
          `PUT /uploads/${id}/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\n` +
            `Content-Type: application/x-tar\r\nContent-Length: 100000\r\n\r\n`,
        );
        await eventually('it is being stored', () => existsSync(path('incoming', `${id}.unfinished`)));
      }
      const tar = rawTar({ name: 'a', content: 'x' });
      const fifth = await put(await open(), tar);
      assert.deepEqual([fifth.status, fifth.body.error], [429, 'rate_limited']);
      assert.equal((await put(await open(other), tar, { caller: other })).status, 200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    await eventually(
      'the next one is taken',
      async () => (await put(await open(), rawTar({ name: 'a' }))).status === 200,
    );
  });

  it('take no more than their owner’s share, and a base is counted once', async () => {
    await start({ limits: { oneBytes: 1 * MB, totalBytes: 6 * MB, ownerBytes: 3 * MB } });
    const big = rawTar({ name: 'a', content: 'x'.repeat(900_000) });
    const first = await open();
    assert.equal((await put(first, big)).status, 200);
    assert.equal((await finalize(first, { reusable: true })).status, 200);
    for (let copy = 0; copy < 6; copy++) {
      const later = await open(api.caller, { base: first.upload_id });
      assert.equal((await put(later, rawTar({ name: `new-${copy}` }))).status, 200);
      const { status, body } = await finalize(later, { reusable: true });
      assert.deepEqual([status, body.size_bytes], [200, 900_000]);
    }
    assert.equal(await api.uploadStore.storedBytes('default'), 900_000 + 6 * 4096);
    for (let more = 0; more < 2; more++) {
      const upload = await open();
      assert.equal((await put(upload, big)).status, 200);
    }
    const { status, body } = await put(await open(), big);
    assert.equal(status, 507);
    assert.match(body.message, /"default" have reached their share/);
    const others = await open(other);
    assert.equal((await put(others, big, { caller: other })).status, 200);
    assert.equal((await finalize(others, {}, other)).status, 200);
    // What a base that is gone shared with others is theirs from then on.
    await api.caller.fetch(`/uploads/${first.upload_id}`, { method: 'DELETE' });
    await api.uploads.sweep();
    assert.ok((await api.uploadStore.storedBytes('default')) >= 6 * 900_000);
  });

  it('that lie too deep from before a start are no reason to take nothing from others', async () => {
    const deep = path('incoming', 'upload_deep-before-1');
    await mkdir(deep, { recursive: true });
    await make(deep, `mkdir -p ${'d/'.repeat(101)}; mkfifo fifo`);
    const tar = rawTar({ name: 'a', content: 'x' });
    assert.equal((await put(await open(other), tar, { caller: other })).status, 200);
    assert.equal((await put(await open(), tar)).status, 200);
  });

  describe('by rsync', () => {
    let source: string;
    beforeEach(async () => {
      await start({ rsync: true });
      source = join(api.dir, 'source');
      await mkdir(source);
    });

    it('are over when they are too deep, and others are measured as ever', async () => {
      await make(source, `mkdir -p ${'d/'.repeat(101)}; echo x > f`);
      const deep = await open();
      await rsync(deep, source);
      await eventually('its tree is gone', () => !existsSync(path('incoming', deep.upload_id)));
      assert.equal((await finalize(deep)).body.error, 'upload_expired');
      await make(source, 'rm -rf d');
      assert.equal((await rsync(await open(other), source)).code, 0);
    });

    it('are over when they have more entries than there are bytes for', async () => {
      await make(source, 'for ((i = 0; i < 400; i++)); do mkdir d$i; done');
      const many = await open();
      await rsync(many, source);
      await eventually('its tree is gone', () => !existsSync(path('incoming', many.upload_id)));
      assert.equal((await finalize(many)).body.error, 'upload_expired');
    });

    it('have no option that names a directory, or that stores more than files', async () => {
      await writeFile(join(source, 'a'), '1');
      const upload = await open();
      for (const option of [
        '--backup-dir=x',
        '--backup',
        '--temp-dir=x',
        '--partial-dir=x',
        '--delay-updates',
        '--link-dest=x',
        '--copy-dest=x',
        '--compare-dest=x',
        '-M--fake-super',
        '--xattrs',
        '--acls',
        '--keep-dirlinks',
        '--preallocate',
        '--write-devices',
      ]) {
        const { code, text } = await rsync(upload, source, option);
        assert.ok(code !== 0, option);
        assert.match(text, /refuse|not supported|unknown option/, option);
      }
      assert.deepEqual(await readdir(path('incoming', upload.upload_id)), []);
      assert.equal((await rsync(upload, source, '-aH', '--delete', '--inplace', '-z')).code, 0);
    });
  });
});
