import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { truncateSync } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import { packTree } from '../../src/client/upload/pack.ts';
import { listTree, type Tree } from '../../src/client/upload/tree.ts';
import { uploadTree } from '../../src/client/upload/upload.ts';
import { eventually } from '../support/eventually.ts';
import { connectionTo, failure, json, WireServer } from './wire-server.ts';

const git = (directory: string, ...args: string[]): Promise<unknown> =>
  promisify(execFile)('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: directory });

describe('packing a directory', () => {
  let scratch: string;
  let source: string;

  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'flashpods-pack-'));
    source = join(scratch, 'source');
    await mkdir(source);
  });
  afterEach(() => rm(scratch, { recursive: true, force: true }));

  async function put(path: string, content: string | Buffer = path): Promise<void> {
    await mkdir(join(source, path, '..'), { recursive: true });
    await writeFile(join(source, path), content);
  }

  const list = (excludes: readonly string[] = []) => listTree(source, { excludes });
  const pathsOf = (tree: Tree): string[] =>
    tree.entries.map(({ path }) => path).filter((path) => path !== '.');
  const paths = async (excludes?: readonly string[]): Promise<string[]> => pathsOf(await list(excludes));

  /** What the real tar makes of the stream. */
  async function unpacked(onBytes?: (bytes: number) => void): Promise<string> {
    const target = join(scratch, 'target');
    await mkdir(target);
    const tar = spawn('tar', ['-x', '-p', '-C', target], { stdio: ['pipe', 'ignore', 'pipe'] });
    let complaint = '';
    tar.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    const ended = new Promise<number | null>((resolve) => tar.on('close', resolve));
    for await (const chunk of packTree(await list(), onBytes ? { onBytes } : {})) {
      if (!tar.stdin.write(chunk)) await new Promise((resolve) => tar.stdin.once('drain', resolve));
    }
    tar.stdin.end();
    assert.equal(await ended, 0, complaint);
    assert.equal(complaint, '');
    return target;
  }

  it('arrives as it was sent: contents, modes, symlinks, empty directories, strange names', async () => {
    const longest = 'n'.repeat(255);
    await put('plain.txt', 'text\n');
    await put('empty', '');
    await put('bin/tool', '#!/bin/sh\n');
    await chmod(join(source, 'bin/tool'), 0o755);
    await put('secret', 'x');
    await chmod(join(source, 'secret'), 0o600);
    await put(`deep/${longest}/${longest}`);
    await put('with space\nand newline');
    await put('größe-文-😀');
    await put('large', Buffer.alloc(3 * 1024 * 1024 + 7, 'z'));
    await mkdir(join(source, 'hollow/inner'), { recursive: true });
    await symlink('plain.txt', join(source, 'link'));
    await symlink('nowhere/'.padEnd(300, 'x'), join(source, 'dangling'));
    await symlink('bin', join(source, 'link-to-directory'));

    let bytes = 0;
    const target = await unpacked((more) => (bytes += more));
    const tree = await list();
    assert.equal(bytes, tree.bytes);
    assert.equal(tree.files, 8);
    const names = (await readdir(target, { recursive: true })).sort();
    assert.deepEqual(names, (await readdir(source, { recursive: true })).sort());
    for (const name of names) {
      const [sent, got] = [await lstat(join(source, name)), await lstat(join(target, name))];
      assert.equal(got.mode, sent.mode, name);
      if (sent.isSymbolicLink())
        assert.equal(await readlink(join(target, name)), await readlink(join(source, name)));
      if (sent.isFile())
        assert.ok((await readFile(join(target, name))).equals(await readFile(join(source, name))), name);
    }
  });

  it('leaves out the default excludes at any depth', async () => {
    for (const name of ['.git', 'node_modules', 'target', '__pycache__', '.venv']) {
      await put(`${name}/x`);
      await put(`sub/${name}/x`);
    }
    await put('sub/target.txt');
    await put('src/target'); // a file of that name is none of them
    assert.deepEqual(await paths(), ['src', 'src/target', 'sub', 'sub/target.txt']);
  });

  it('leaves out names and paths that it is told to', async () => {
    await put('a/keep');
    await put('a/out/x');
    await put('b/out');
    await put('c/one');
    await put('d/c/one');
    assert.deepEqual(await paths(['out', './c/one', 'b/']), ['a', 'a/keep', 'c', 'd', 'd/c', 'd/c/one']);
  });

  it('respects .gitignore in a work tree, and takes untracked files and empty directories along', async () => {
    await git(source, 'init', '-q');
    await put('.gitignore', '*.log\n/build/\n!keep.log\n');
    await put('tracked.log');
    await git(source, 'add', '-f', '.');
    await git(source, 'commit', '-qm', 'first');
    for (const path of [
      'untracked',
      'noise.log',
      'keep.log',
      'build/out',
      'sub/build/fine',
      'sub/.gitignore',
      'sub/noise.log',
    ]) {
      await put(path, path.endsWith('.gitignore') ? 'local\n' : path);
    }
    await put('sub/local');
    await mkdir(join(source, 'hollow'));
    assert.deepEqual(await paths(), [
      '.gitignore',
      'hollow',
      'keep.log',
      'sub',
      'sub/.gitignore',
      'sub/build',
      'sub/build/fine',
      'tracked.log',
      'untracked',
    ]);
  });

  it('respects the .gitignore of a repository within the repository', async () => {
    await git(source, 'init', '-q');
    await put('inner/.gitignore', 'junk\n');
    await put('inner/junk');
    await put('inner/kept');
    await git(join(source, 'inner'), 'init', '-q');
    assert.deepEqual(await paths(), ['inner', 'inner/.gitignore', 'inner/kept']);
  });

  it('respects the .gitignore of a repository around the directory, but sends a directory that is ignored itself', async () => {
    await git(scratch, 'init', '-q');
    await writeFile(join(scratch, '.gitignore'), '*.tmp\n/source/inner\n');
    await put('a.tmp');
    await put('kept');
    await put('inner/wanted');
    assert.deepEqual(await paths(), ['kept']);
    assert.deepEqual(pathsOf(await listTree(join(source, 'inner'), { excludes: [] })), ['wanted']);
  });

  it('respects .gitignore where there is no repository', async () => {
    await put('.gitignore', 'junk/\n');
    await put('junk/x');
    await put('kept');
    assert.deepEqual(await paths(), ['.gitignore', 'kept']);
  });

  it('leaves out what is neither file, directory nor symlink, and says so', async () => {
    execFileSync('mkfifo', [join(source, 'pipe')]);
    await put('kept');
    const tree = await list();
    assert.deepEqual(pathsOf(tree), ['kept']);
    assert.match(tree.notices.join(), /left out, being neither file, directory nor symlink: pipe/);
  });

  it('does not vouch for a file that was written within the last clock tick', async () => {
    const stamp = async (): Promise<unknown> => (await list()).entries[1]?.stamp;
    await put('file');
    const busy = setInterval(() => writeFileSync(join(source, 'file'), 'file'), 1);
    await eventually('the file is read within a tick', async () => (await stamp()) === null);
    clearInterval(busy);
    const later = await eventually('the file is older', stamp);
    assert.equal(await stamp(), later);
    await put('file', 'other');
    assert.notEqual(await stamp(), later);
  });

  it('refuses what is no directory', async () => {
    await put('file');
    await assert.rejects(listTree(join(source, 'file'), { excludes: [] }), { code: 'invalid_arguments' });
    await assert.rejects(listTree(join(source, 'missing'), { excludes: [] }), { code: 'invalid_arguments' });
  });

  it('sends a file as it is when it is read, and leaves out one that vanished', async () => {
    for (const name of ['grows', 'shrinks', 'vanishes', 'becomes-a-link', 'z-last'])
      await put(name, '0123456789');
    const tree = await list();
    await writeFile(join(source, 'grows'), 'now it is longer');
    await writeFile(join(source, 'shrinks'), 'short');
    await rm(join(source, 'vanishes'));
    await rm(join(source, 'becomes-a-link'));
    await symlink('/etc/passwd', join(source, 'becomes-a-link'));
    const chunks: Uint8Array[] = [];
    const vanished: string[] = [];
    const heard = { onVanished: (path: string) => vanished.push(path) };
    for await (const chunk of packTree(tree, heard)) chunks.push(chunk);
    assert.deepEqual(vanished, ['becomes-a-link', 'vanishes']);
    const listing = execFileSync('tar', ['-t', '-v'], { input: Buffer.concat(chunks), encoding: 'utf8' });
    const sizes = listing
      .trim()
      .split('\n')
      .map((line) => [line.split(/\s+/)[2], line.split(/\s+/).at(-1)]);
    assert.deepEqual(sizes.slice(1), [
      ['16', 'grows'],
      ['5', 'shrinks'],
      ['10', 'z-last'],
    ]);
  });

  describe('over the wire', () => {
    let server: WireServer;
    afterEach(() => server.stop());

    const start = async (
      onFiles: (response: Parameters<typeof json>[0], nth: number) => void,
    ): Promise<FlashpodsClient> => {
      let uploads = 0;
      let puts = 0;
      server = await new WireServer(({ method, path }, response) => {
        if (method === 'POST' && path === '/uploads')
          json(response, 201, { upload_id: `upload_${(uploads += 1)}`, state: 'uploading' });
        else if (method === 'PUT') onFiles(response, (puts += 1));
        else if (method === 'DELETE') response.writeHead(204).end();
        else json(response, 200, { upload_id: path.split('/')[2], state: 'finalized' });
      }).start();
      return new FlashpodsClient(connectionTo(server.url));
    };
    const deleted = (): string[] =>
      server.seen.filter(({ method }) => method === 'DELETE').map(({ path }) => path);

    it('begins a broken transfer anew as another upload and deletes the broken one', async () => {
      await put('file');
      const client = await start((response, nth) =>
        nth === 1 ? response.destroy() : response.writeHead(204).end(),
      );
      const { upload } = await uploadTree(client, await list());
      client.close();
      assert.deepEqual([upload.upload_id, upload.state], ['upload_2', 'finalized']);
      assert.deepEqual(deleted(), ['/uploads/upload_1']);
      const bodies = server.seen.filter(({ method }) => method === 'PUT').map(({ body }) => body);
      assert.equal(bodies[0], bodies[1]);
    });

    it('gives up at once when the server has no room', async () => {
      await put('file');
      const client = await start((response) => json(response, 507, failure('insufficient_storage')));
      await assert.rejects(uploadTree(client, await list()), { code: 'upload_disk_full', status: 507 });
      client.close();
      assert.deepEqual(deleted(), ['/uploads/upload_1']);
    });

    it('names a large file that shrinks whenever it is sent', async () => {
      const size = 40 * 1024 * 1024;
      await put('log', Buffer.alloc(size));
      const client = await start((response) => response.writeHead(204).end());
      const path = join(source, 'log');
      const tree = await list();
      const onProgress = (bytes: number): void => {
        if (bytes >= size / 2) truncateSync(path, 2_000_000);
      };
      const onRetry = (): void => truncateSync(path, size);
      await assert.rejects(uploadTree(client, tree, { onProgress, onRetry }), {
        code: 'upload_failed',
        message: /log changed/,
      });
      client.close();
    });

    it('stops when it is aborted', async () => {
      await put('file', Buffer.alloc(8 * 1024 * 1024));
      const client = await start(() => undefined);
      const controller = new AbortController();
      const reason = new Error('enough');
      const upload = uploadTree(client, await list(), {
        signal: controller.signal,
        onProgress: () => controller.abort(reason),
      });
      await assert.rejects(upload, reason);
      client.close();
      assert.deepEqual(deleted(), ['/uploads/upload_1']);
    });
  });
});
