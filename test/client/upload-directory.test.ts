import assert from 'node:assert/strict';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import {
  type DirectoryOptions,
  type SentDirectory,
  uploadDirectory,
} from '../../src/client/upload/directory.ts';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { eventually } from '../support/eventually.ts';
import { connectionTo, json, WireServer } from './wire-server.ts';

describe('sending a directory', () => {
  let api: RunningApi;
  let client: FlashpodsClient;
  let project: string;
  beforeEach(async () => {
    api = await startApi({
      rsync: true,
      limits: { oneBytes: 50_000_000, totalBytes: 500_000_000, unusedMs: 3_600_000 },
    });
    project = join(api.dir, 'project');
    await mkdir(project);
    client = clientOf(api.caller.url);
  });
  afterEach(async () => {
    client.close();
    await api.stop();
  });

  const clientOf = (url: string): FlashpodsClient =>
    new FlashpodsClient({ ...connectionTo(url), token: api.token, cacheDir: join(api.dir, 'cache') });
  const path = (...parts: string[]): string => join(project, ...parts);
  const send = (options: DirectoryOptions = {}): Promise<SentDirectory> =>
    uploadDirectory(client, project, options);
  const snapshot = ({ upload }: SentDirectory, ...parts: string[]): string =>
    join(api.dir, 'uploads', 'snapshots', `${upload.upload_id}.layer`, 'work', ...parts);

  async function fill(files: number): Promise<void> {
    for (let from = 0; from < files; from += 100) {
      const folder = path(`folder-${from / 100}`);
      await mkdir(folder);
      const numbers = Array.from({ length: Math.min(100, files - from) }, (_, index) => from + index);
      await Promise.all(
        numbers.map((at) => writeFile(join(folder, `file-${at}`), `content of file ${at}\n`)),
      );
    }
    await settled();
  }

  /** What was changed within the width of a clock tick is sent again to be safe. */
  async function settled(): Promise<void> {
    const now = Date.now();
    await eventually('the files are older than a clock tick', () => Date.now() - now > 60);
  }

  /** The snapshot is the directory, but for what is left out. */
  async function assertSame(sent: SentDirectory): Promise<void> {
    const names = (await readdir(project, { recursive: true })).sort();
    assert.deepEqual((await readdir(snapshot(sent), { recursive: true })).sort(), names);
    for (const name of names) {
      const [mine, theirs] = [await stat(path(name)), await stat(snapshot(sent, name))];
      assert.equal(theirs.mode & 0o777, mine.mode & 0o777, name);
      if (mine.isFile())
        assert.ok((await readFile(path(name))).equals(await readFile(snapshot(sent, name))), name);
    }
  }

  for (const [transport, count] of [
    ['http', 5_000],
    ['rsync', 1_000],
  ] as const) {
    it(`sends one file of ${count} when one has changed, over ${transport}`, async () => {
      await fill(count);
      const first = await send({ transport });
      assert.equal(first.sent.files, count);
      assert.equal(first.sent.transport, transport);
      await writeFile(path('folder-7', 'file-777'), 'changed, and longer than it was\n');
      const second = await send({ transport });
      assert.deepEqual(second.sent, { transport, files: 1, bytes: 32 });
      assert.notEqual(second.upload.upload_id, first.upload.upload_id);
      assert.equal(second.upload.file_count, count);
      const changed = snapshot(second, 'folder-7', 'file-777');
      assert.equal(await readFile(changed, 'utf8'), 'changed, and longer than it was\n');
      const [kept, before] = [snapshot(second, 'folder-0', 'file-1'), snapshot(first, 'folder-0', 'file-1')];
      assert.equal((await stat(kept)).ino, (await stat(before)).ino, 'what did not change is stored once');
    });
  }

  it('takes rsync for a larger directory, tar streams for a small one and for small changes', async () => {
    await fill(3);
    assert.equal((await send()).sent.transport, 'http');
    await writeFile(path('large'), Buffer.alloc(2_000_000, 'x'));
    await settled();
    assert.equal((await send()).sent.transport, 'rsync');
    await writeFile(path('large'), Buffer.alloc(3_000_000, 'y'));
    await settled();
    const change = await send();
    assert.deepEqual(change.sent, { transport: 'http', files: 1, bytes: 3_000_000 });
    await assertSame(change);
  });

  it('sends nothing when nothing has changed', async () => {
    await fill(200);
    const first = await send();
    const second = await send();
    assert.deepEqual(second.sent, { transport: 'none', files: 0, bytes: 0 });
    assert.equal(second.upload.upload_id, first.upload.upload_id);
  });

  it('sends a change that was made within the clock tick of the last upload', async () => {
    await fill(200);
    const changing = path('folder-0', 'file-0');
    for (let round = 0; round < 5; round += 1) {
      // The same size, and with utimes the same time.
      await writeFile(changing, `round ${round}`);
      const before = await send();
      await writeFile(changing, `again ${round}`);
      const { mtime } = await stat(changing);
      await utimes(changing, mtime, mtime);
      const after = await send();
      assert.equal(await readFile(snapshot(before, 'folder-0', 'file-0'), 'utf8'), `round ${round}`);
      assert.equal(await readFile(snapshot(after, 'folder-0', 'file-0'), 'utf8'), `again ${round}`);
    }
  });

  it('carries every kind of change: new, gone, renamed, another mode, another kind', async () => {
    await fill(200);
    await mkdir(path('becomes-a-file'));
    await writeFile(path('becomes-a-file', 'inner'), 'x');
    await writeFile(path('becomes-a-directory'), 'x');
    await writeFile(path('becomes-a-link'), 'x');
    await send();
    await rm(path('becomes-a-file'), { recursive: true });
    await writeFile(path('becomes-a-file'), 'file');
    await rm(path('becomes-a-directory'));
    await mkdir(path('becomes-a-directory', 'empty'), { recursive: true });
    await rm(path('becomes-a-link'));
    await symlink('folder-0/file-0', path('becomes-a-link'));
    await writeFile(path('folder-0', 'file-3'), '#!/bin/sh\n', { mode: 0o755 });
    await chmod(path('folder-0', 'file-3'), 0o755);
    await chmod(path('folder-1'), 0o750);
    await rename(path('folder-0', 'file-4'), path('folder-1', 'moved'));
    await writeFile(path('*[new]?\\ file'), 'new');
    await rm(path('folder-0', 'file-5'));
    const changed = await send({ transport: 'http' });
    await assertSame(changed);
    assert.ok(changed.sent.files < 10, `${changed.sent.files} files were sent`);
    await rm(path('folder-1'), { recursive: true });
    const gone = await send({ transport: 'rsync' });
    await assertSame(gone);
    assert.equal(gone.sent.files, 0);
  });

  for (const transport of ['http', 'rsync'] as const) {
    it(`leaves out over ${transport} what git ignores, what is excluded, and what was sent before that`, async () => {
      await fill(200);
      await writeFile(path('secret[1].env'), 'x');
      await mkdir(path('node_modules'));
      await writeFile(path('node_modules', 'big'), 'x');
      const first = await send({ transport });
      assert.deepEqual((await readdir(snapshot(first))).sort(), ['folder-0', 'folder-1', 'secret[1].env']);
      await writeFile(path('.gitignore'), 'secret*\n/folder-1/\n');
      const second = await send({ transport, excludes: ['folder-0/file-1'] });
      assert.deepEqual((await readdir(snapshot(second))).sort(), ['.gitignore', 'folder-0']);
      assert.ok(!(await readdir(snapshot(second, 'folder-0'))).includes('file-1'));
    });
  }

  it('sends all of it when the server has the earlier upload no longer', async () => {
    await fill(200);
    const first = await send();
    await client.deleteUpload(first.upload.upload_id);
    await writeFile(path('folder-0', 'file-0'), 'changed');
    const second = await send({ transport: 'http' });
    assert.equal(second.sent.files, 200);
    await assertSame(second);
  });

  it('does without what it remembers when that can’t be read, or the cache can’t be written', async () => {
    await fill(200);
    await send();
    const [file = ''] = await readdir(join(api.dir, 'cache', 'uploads'));
    await writeFile(join(api.dir, 'cache', 'uploads', file), '{"version":1,"upload_id":7}');
    assert.equal((await send()).sent.files, 200);
    const nowhere = { ...client.connection, cacheDir: join(path('folder-0', 'file-0'), 'no-directory') };
    const other = new FlashpodsClient(nowhere);
    assert.equal((await uploadDirectory(other, project)).sent.files, 200);
    other.close();
  });

  it('goes over HTTP when the rsync daemon can’t be reached, unless rsync is asked for', async () => {
    await fill(200);
    const unreachable = new FlashpodsClient({ ...client.connection, rsyncHost: '127.0.0.9' });
    assert.equal((await uploadDirectory(unreachable, project)).sent.transport, 'http');
    await writeFile(path('new'), 'new');
    await assert.rejects(uploadDirectory(unreachable, project, { transport: 'rsync' }), {
      code: 'upload_failed',
      message: /rsync can't be used/,
    });
    unreachable.close();
  });

  it('says upload_disk_full when the server has no room, whichever way it goes', async () => {
    await fill(1);
    await writeFile(path('huge'), Buffer.alloc(60_000_000, 'x'));
    for (const transport of ['http', 'rsync'] as const)
      await assert.rejects(send({ transport }), { code: 'upload_disk_full' }, transport);
  });

  it('shows how far it is, to the end', async () => {
    await fill(1);
    await writeFile(path('large'), Buffer.alloc(20_000_000, 'x'));
    for (const transport of ['http', 'rsync'] as const) {
      const seen: number[] = [];
      let all = 0;
      await send({ transport, onProgress: (bytes, total) => void (seen.push(bytes), (all = total)) });
      assert.equal(seen.at(-1), all);
      assert.deepEqual(
        seen,
        [...seen].sort((a, b) => a - b),
      );
      await rm(join(api.dir, 'cache'), { recursive: true });
    }
  });
});

describe('a tar stream', () => {
  it('is compressed on its way to another machine, not on this one', async () => {
    const server = await new WireServer(({ method, path }, response) => {
      if (method === 'POST' && path === '/uploads') json(response, 201, { upload_id: 'upload_1' });
      else if (method === 'PUT') response.writeHead(204).end();
      else json(response, 200, { upload_id: 'upload_1', state: 'finalized' });
    }).start();
    // An address of this machine that does not look like one.
    const mapped = server.url.replace('127.0.0.1', '[::ffff:127.0.0.1]');
    const directory = join(import.meta.dirname, '../../src/client');
    for (const url of [server.url, mapped]) {
      const client = new FlashpodsClient(connectionTo(url));
      await uploadDirectory(client, directory);
      client.close();
    }
    const [plain, zstd] = server.seen.filter(({ method }) => method === 'PUT');
    await server.stop();
    assert.equal(plain?.headers['content-encoding'], undefined);
    assert.equal(zstd?.headers['content-encoding'], 'zstd');
    const unpacked = zstdDecompressSync(Buffer.from(zstd?.body ?? '', 'latin1'));
    assert.ok(unpacked.equals(Buffer.from(plain?.body ?? '', 'latin1')));
  });
});
