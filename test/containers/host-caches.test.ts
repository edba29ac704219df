import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { HostCaches } from '../../src/containers/podman/caches/host-caches.ts';
import { cacheMount } from '../../src/containers/mounts.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { removeTree } from '../../src/trees/remove-tree.ts';

const MB = 2 ** 20;
const NEVER = new AbortController().signal;

/** Layers are made by the test; how jobs make them is for caches.test.ts. */
describe('the caches that a host keeps', () => {
  let directory: string;
  let minFreeBytes: number;
  const inUse = new Set<string>();
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'fp-caches-'));
    minFreeBytes = 0;
    inUse.clear();
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const open = (): HostCaches =>
    new HostCaches({
      directory,
      ownerBytes: 100 * MB,
      get minFreeBytes() {
        return minFreeBytes;
      },
      inUse: () => inUse,
      removeTree,
      sync: () => Promise.resolve(),
      logger: { info: () => undefined, warn: () => undefined },
    });
  /** What a job changed, as a shell makes it; null: nothing. */
  const sandbox = (script: string | null, megabytes = 1): Sandbox =>
    ({
      async saveCache(_mount: unknown, path: string, makeRoom: (weight: number) => Promise<void>) {
        if (script === null) return null;
        await makeRoom(megabytes * MB);
        mkdirSync(path);
        execFileSync('sh', ['-ec', script], { cwd: path });
        return megabytes * MB;
      },
    }) as unknown as Sandbox;
  const key = (name: string, { owner = 'anna', scope = 'default' } = {}) => ({ owner, name, scope });
  /** Opens it, and publishes what was changed of it. */
  const write = async (
    caches: HostCaches,
    name: string,
    script: string | null = 'echo new > file',
    { owner = 'anna', scope = 'default', megabytes = 1, since = Date.now() } = {},
  ): Promise<void> => {
    const opened = caches.open(key(name, { owner, scope }));
    const writing = { ...key(name, { owner, scope }), jobId: 'job_1', path: '/opt/x', since };
    const mount = cacheMount(0, '/opt/x', opened.layers);
    await caches.publish(writing, sandbox(script, megabytes), mount, NEVER);
    opened.release();
  };
  const names = (caches: HostCaches): string[] =>
    caches
      .list()
      .map(({ name }) => name)
      .sort();
  const layers = (): string[] => readdirSync(join(directory, 'layers'));
  /** Reads it without counting on a kernel: the uppermost layer that has the file. */
  const read = (caches: HostCaches, name: string, file: string): string | null => {
    const opened = caches.open(key(name));
    opened.release();
    const layer = opened.layers.find((path) => existsSync(join(path, file)));
    return layer === undefined ? null : readFileSync(join(layer, file), 'utf8');
  };

  it('are of one owner and scope, and fall back to the default scope', async () => {
    const caches = open();
    assert.equal(caches.open(key('npm')).notice, 'cold');
    await write(caches, 'npm', 'echo main > file');
    assert.equal(caches.open(key('npm', { owner: 'bert' })).layers.length, 0);
    await write(caches, 'npm', 'echo theirs > file', { scope: 'pr-1' });
    assert.equal(read(caches, 'npm', 'file'), 'main\n');
    assert.equal(caches.open(key('npm', { scope: 'pr-1' })).layers.length, 2);
    assert.equal(caches.open(key('npm', { scope: 'pr-2' })).layers.length, 1);
    const [main] = caches.list().filter(({ scope }) => scope === 'default');
    assert.deepEqual([main?.hits, main?.writtenBy, main?.sizeBytes], [3, 'job_1', MB]);
  });

  it('stay as they were when nothing was changed, or what was changed is too much', async () => {
    const caches = open();
    await write(caches, 'npm', 'echo old > file');
    await write(caches, 'npm', null);
    await write(caches, 'npm', 'echo new > file', { megabytes: 101 });
    assert.equal(read(caches, 'npm', 'file'), 'old\n');
    await write(caches, 'cargo', 'echo new > file', { megabytes: 101 });
    assert.equal(caches.open(key('cargo')).notice, 'cold, too large to be kept today');
    assert.equal(layers().length, 1);
  });

  it('go in the order of their last use when their owner wants more, and nobody else’s', async () => {
    const caches = open();
    for (const name of ['oldest', 'older']) await write(caches, name, undefined, { megabytes: 40 });
    await write(caches, 'others', undefined, { megabytes: 90, owner: 'bert' });
    caches.open(key('oldest')).release();
    await write(caches, 'new', undefined, { megabytes: 40 });
    assert.deepEqual(names(caches), ['new', 'oldest', 'others']);
    assert.equal(caches.open(key('older')).notice, 'cold, evicted today');
    minFreeBytes = Number.MAX_SAFE_INTEGER;
    await write(caches, 'newest');
    assert.ok(names(caches).includes('others'), 'nobody’s go for what somebody else wants to keep');
    await caches.trim();
    assert.deepEqual([names(caches), layers()], [[], []]);
  });

  it('keep their layers while a job has them, or is about to', async () => {
    const caches = open();
    await write(caches, 'npm');
    const { layers: held, release } = caches.open(key('npm'));
    await caches.remove({ owner: 'anna', name: 'npm', scope: null });
    assert.equal(caches.open(key('npm')).notice, 'cold, removed today');
    assert.ok(existsSync(held[0] ?? ''));
    inUse.add(held[0] ?? '');
    release();
    await caches.trim();
    assert.ok(existsSync(held[0] ?? ''));
    inUse.clear();
    await caches.trim();
    assert.deepEqual(layers(), []);
  });

  it('are not brought back by a job that began before somebody removed them', async () => {
    const caches = open();
    await write(caches, 'npm', 'echo poison > file');
    const since = Date.now() - 1_000;
    await caches.remove({ owner: null, name: 'npm', scope: 'default' });
    await write(caches, 'npm', 'echo poison > file', { since });
    assert.deepEqual(names(caches), []);
    await write(caches, 'npm', 'echo clean > file', { since: Date.now() + 1 });
    await write(caches, 'npm', 'echo poison > file', { since });
    assert.equal(read(caches, 'npm', 'file'), 'clean\n');
  });

  it('are the old or the new one after a crash, and a broken one is cold', async () => {
    const caches = open();
    await write(caches, 'npm', 'echo old > file');
    mkdirSync(join(directory, 'layers', '.making-left', 'deep'), { recursive: true });
    mkdirSync(join(directory, 'layers', '.gone-left'));
    await assert.rejects(write(caches, 'npm', 'exit 1'));
    await open().trim();
    assert.equal(layers().length, 1);
    const next = open();
    assert.equal(read(next, 'npm', 'file'), 'old\n');
    rmSync(join(directory, 'layers', layers()[0] ?? ''), { recursive: true });
    assert.equal(next.open(key('npm')).notice, 'cold, found broken today');
    await write(next, 'npm', 'echo new > file');
    const about = join(
      directory,
      readdirSync(directory).find((name) => name !== 'layers') ?? '',
      'about.json',
    );
    writeFileSync(about, '{"layers": [');
    assert.deepEqual(next.open(key('npm')).layers, []);
  });

  it('become one layer when there are many, with all that hides something gone', async () => {
    const caches = open();
    await write(
      caches,
      'npm',
      'mkdir d e; echo 1 > d/a; echo 1 > d/b; echo 1 > e/c; echo 1 > f; ln -s /etc/passwd l',
    );
    await write(
      caches,
      'npm',
      `mkdir d e; mknod d/a c 0 0; perl -e 'syscall(188, my $p = "e", my $n = "trusted.overlay.opaque", my $v = "y", 1, 0)'
       echo 2 > e/n; mknod f c 0 0; mknod l c 0 0; touch -d @1000 d/x; mkdir l2; chmod 4755 d/x`,
    );
    for (let n = 3; n <= 9; n++) await write(caches, 'npm', `echo ${n} > n; mkdir -p l; echo ${n} > l/${n}`);
    const { layers: left, release } = caches.open(key('npm'));
    release();
    assert.equal(left.length, 1);
    const tree = execFileSync('find', ['.', '-type', 'f', '-o', '-type', 'l', '-o', '-type', 'c'], {
      cwd: left[0],
      encoding: 'utf8',
    });
    assert.deepEqual(tree.trim().split('\n').sort(), [
      './d/b',
      './d/x',
      './e/n',
      ...[3, 4, 5, 6, 7, 8, 9].map((n) => `./l/${n}`),
      './n',
    ]);
    assert.equal(readFileSync(join(left[0] ?? '', 'n'), 'utf8'), '9\n');
    await caches.trim();
    assert.equal(layers().length, 1);
  });
});
