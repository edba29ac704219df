import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { ImageLayers } from '../../src/containers/podman/rootfs/image-layers.ts';
import { HostPackageLayers } from '../../src/containers/podman/rootfs/package-layers.ts';
import type { Images } from '../../src/containers/podman/images/images.ts';
import type { WantedLayer } from '../../src/containers/package-layers.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import type { Mirrors } from '../../src/mirrors/mirrors.ts';

const MB = 2 ** 20;
const NEVER = new AbortController().signal;

/** Its layers are files of the test; how they are made is for test/processors/packages.test.ts. */
describe('the layers of installed packages', () => {
  let directory: string;
  let minFreeBytes: number;
  let mirrors: Mirrors | null;
  const inUse = new Set<string>();
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'fp-packages-'));
    minFreeBytes = 0;
    mirrors = null;
    inUse.clear();
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const open = (): HostPackageLayers =>
    new HostPackageLayers({
      directory,
      images: {
        local: (name: string) => Promise.resolve(name),
        configOf: (name: string) => ({ id: `id of ${name}`, digest: 'sha256:0', layers: [] }),
      } as unknown as Images,
      layers: { forget: () => Promise.resolve() } as unknown as ImageLayers,
      mirrors: { current: () => mirrors },
      ownerBytes: 100 * MB,
      get minFreeBytes() {
        return minFreeBytes;
      },
      inUse: () => inUse,
      logger: { info: () => undefined, warn: () => undefined },
    });
  const build = (megabytes: number, fails = false): Sandbox =>
    ({
      async saveLayer(path: string, makeRoom: (bytes: number) => Promise<void>) {
        await makeRoom(megabytes * MB);
        mkdirSync(path);
        writeFileSync(join(path, 'file'), '');
        if (fails) throw new Error('no space left');
        return megabytes * MB;
      },
    }) as unknown as Sandbox;
  const want = (layers: HostPackageLayers, name: string, owner = 'anna'): Promise<WantedLayer> =>
    layers.want({ owner, image: 'base', packages: [name] });
  /** Used this many seconds ago. */
  const make = async (
    layers: HostPackageLayers,
    name: string,
    { megabytes = 40, agoSeconds = 0, owner = 'anna' } = {},
  ): Promise<WantedLayer> => {
    const wanted = await want(layers, name, owner);
    await layers.keep(wanted, build(megabytes), NEVER);
    const at = Date.now() / 1000 - agoSeconds;
    utimesSync(join(directory, wanted.key, 'about.json'), at, at);
    return wanted;
  };
  const names = (layers: HostPackageLayers): string[] =>
    layers
      .list()
      .flatMap(({ packages = [] }) => packages)
      .sort();

  it('go in the order of their last use when their owner wants more, and nobody else’s', async () => {
    const layers = open();
    const oldest = await make(layers, 'oldest', { agoSeconds: 30 });
    await make(layers, 'older', { agoSeconds: 20 });
    await make(layers, 'others', { agoSeconds: 90, owner: 'bert', megabytes: 90 });
    layers.hold(oldest)?.();
    await make(layers, 'new');
    assert.deepEqual(names(layers), ['new', 'oldest', 'others']);
  });

  it('stay while a job uses them, or is about to', async () => {
    const layers = open();
    const held = await make(layers, 'held', { agoSeconds: 30 });
    const used = await make(layers, 'used', { agoSeconds: 20 });
    const release = layers.hold(held);
    inUse.add(layers.pathOf(used.key));
    utimesSync(join(directory, held.key, 'about.json'), 1, 1);
    await make(layers, 'new');
    assert.deepEqual(names(layers), ['held', 'new', 'used']);
    release?.();
    release?.();
    await layers.trim();
    assert.deepEqual(names(layers), ['new', 'used']);
  });

  it('go first when the disk is nearly full', async () => {
    const layers = open();
    const used = await make(layers, 'used', { megabytes: 1 });
    await make(layers, 'unused', { megabytes: 1 });
    await layers.trim();
    assert.deepEqual(names(layers), ['unused', 'used']);
    inUse.add(layers.pathOf(used.key));
    minFreeBytes = Number.MAX_SAFE_INTEGER;
    await layers.trim();
    assert.deepEqual(names(layers), ['used']);
  });

  it('are refused when one is more than its owner may keep', async () => {
    const layers = open();
    await make(layers, 'here');
    const wanted = await want(layers, 'huge');
    await assert.rejects(layers.keep(wanted, build(101), NEVER), { code: 'package_install_failed' });
    assert.deepEqual(names(layers), ['here']);
    assert.equal(layers.hold(wanted), null);
  });

  it('are whole or not there', async () => {
    const layers = open();
    const wanted = await want(layers, 'tree');
    await assert.rejects(layers.keep(wanted, build(1, true), NEVER), /no space left/);
    await assert.rejects(
      layers.keep(wanted, build(1), AbortSignal.abort(new Error('cancelled'))),
      /cancelled/,
    );
    assert.equal(layers.hold(wanted), null);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name !== 'locks'),
      [],
    );
  });

  it('are made by one at a time, and what a crash left goes once nobody makes it', async () => {
    const layers = open();
    const wanted = await want(layers, 'tree');
    const left = join(directory, `.making-${wanted.key}-0`);
    for (const path of [left, join(directory, '.gone-0')])
      mkdirSync(join(path, 'layer', 'etc'), { recursive: true });
    const letGo = layers.claim(wanted);
    assert.ok(letGo);
    assert.equal(open().claim(wanted), null);
    await layers.trim();
    assert.deepEqual(readdirSync(directory).sort(), [`.making-${wanted.key}-0`, 'locks']);
    letGo();
    assert.equal(layers.hold(wanted), null);
    await layers.trim();
    assert.equal(existsSync(left), false);
    assert.deepEqual(readdirSync(join(directory, 'locks')), []);
    open().claim(wanted)?.();
  });

  it('are of one owner, one image, one set of packages and what mirrors are set', async () => {
    const layers = open();
    const keys = await Promise.all([
      want(layers, 'tree'),
      want(layers, 'tree', 'bert'),
      want(layers, 'hello'),
      layers.want({ owner: 'anna', image: 'node', packages: ['tree'] }),
      want(layers, 'tree'),
    ]);
    mirrors = { registries: {}, certificates: [], key: 'other' };
    keys.push(await want(layers, 'tree'));
    assert.equal(new Set(keys.map(({ key }) => key)).size, 5);
    for (const key of ['', '..', '../x', 'A'.repeat(32)]) assert.throws(() => layers.pathOf(key));
  });
});
