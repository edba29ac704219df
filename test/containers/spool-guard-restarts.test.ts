import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { guardSpools } from '../../src/containers/podman/sandbox/spool-guard.ts';
import { ifMissing } from '../../src/files/if-missing.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

const ENTRY = `2026-01-02T03:04:05.123456789+00:00 stdout F ${'x'.repeat(100)}\n`;

describe('the guard of the spools of a worker that is started again', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let root: string;
  let lettingGo: (() => Promise<void>)[];

  beforeEach(async () => {
    directory = await temporaryDirectory();
    root = join(directory.path, 'sandboxes');
    lettingGo = [];
    await mkdir(join(root, 'one'), { recursive: true });
    await writeFile(join(root, 'one', 'spool.log'), '');
  });
  afterEach(async () => {
    for (const letGo of lettingGo) await letGo();
    // A guard ends with its root.
    await directory.remove();
    await eventually('no guard is left', async () => (await limits()).length === 0);
  });

  const guard = (maxBytes: number): (() => Promise<void>) => {
    const letGo = guardSpools({ root, lock: join(directory.path, 'lock'), maxBytes, logger: silent });
    lettingGo.push(letGo);
    return letGo;
  };

  /** BYTES of each guard of this root that runs. */
  async function limits(): Promise<number[]> {
    const found: number[] = [];
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
      const at = words.indexOf(root);
      if (at >= 0) found.push(Number(words[at + 1]));
    }
    return found;
  }
  const areEventually = (expected: readonly number[]): Promise<unknown> =>
    eventually(`guards with ${expected.join()} run`, async () => {
      const found = await limits();
      return found.toSorted((a, b) => a - b).join() === expected.join();
    });

  it('is one, and the newest, however often', async () => {
    for (const maxBytes of [1e9, 2e9, 3e9, 4e9]) {
      const letGo = guard(maxBytes);
      await areEventually([maxBytes]);
      await letGo();
    }
    await areEventually([4e9]);
  });

  it('is the one that runs while its worker does, and the next one waits no longer than its own', async () => {
    const first = guard(1e9);
    await areEventually([1e9]);
    await eventually(
      'it guards',
      async () => (await readFile(join(directory.path, 'lock')).catch(ifMissing(null))) !== null,
    );
    const second = guard(2e9);
    await areEventually([1e9, 2e9]);
    await second();
    await areEventually([1e9]);
    await first();
    await areEventually([1e9]);
  });

  it('gives back on a disk that is full to the last byte', async function () {
    if (process.getuid?.() !== 0) this.skip();
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'flashpods-test', root]);
    try {
      const spool = join(root, 'one', 'spool.log');
      await mkdir(join(root, 'one'));
      await writeFile(spool, '');
      guard(4 * 2 ** 20);
      const gaps = join(root, 'one', 'spool.gaps');
      await eventually('it is ready for it', async () => (await stat(gaps).catch(ifMissing(null))) !== null);
      const filler = await open(join(root, 'filler'), 'w');
      await filler.write(Buffer.alloc(9 * 2 ** 20));
      await writeFile(spool, ENTRY.repeat(2 ** 16)).catch(() => undefined);
      for (const size of [2 ** 20, 4096])
        while (
          await filler.write(Buffer.alloc(size)).then(
            ({ bytesWritten }) => bytesWritten > 0,
            () => false,
          )
        );
      await filler.close();
      await eventually('it gave something back', async () => (await readFile(gaps, 'utf8')) !== '');
      await eventually('there is room again', async () => (await stat(spool)).blocks * 512 < 4 * 2 ** 20);
    } finally {
      for (const letGo of lettingGo) await letGo();
      await execa('umount', ['-l', root]);
    }
  });

  it('ends what it gives back between two characters of a line without an end', async () => {
    const spool = join(root, 'one', 'spool.log');
    const header = '2026-01-02T03:04:05.123456789+00:00 stdout P ';
    // Three bytes each, cut after a number of bytes that is none of three.
    const text = Buffer.from('€'.repeat(2 ** 20));
    const entries: Buffer[] = [];
    for (let at = 0; at < text.length; at += 1000)
      entries.push(Buffer.concat([Buffer.from(header), text.subarray(at, at + 1000), Buffer.from('\n')]));
    await writeFile(spool, Buffer.concat(entries));
    guard(2 * 2 ** 20);
    const lines = async (): Promise<string> =>
      readFile(join(root, 'one', 'spool.gaps'), 'utf8').catch(ifMissing(''));
    await eventually('it gave something back', async () => (await lines()) !== '');
    const [from = 0, to = 0] = (await lines()).split(' ').map(Number);
    const whole = Buffer.concat(entries);
    for (const place of [from, to]) assert.equal(whole[place + header.length], Buffer.from('€')[0]);
  });

  it('does without half of a line that the one before it wrote', async () => {
    const spool = join(root, 'one', 'spool.log');
    const gaps = join(root, 'one', 'spool.gaps');
    await writeFile(gaps, '12 3');
    await writeFile(spool, ENTRY.repeat(2 ** 16));
    guard(4 * 2 ** 20);
    await eventually('it gave something back', async () => (await stat(spool)).blocks * 512 < 4 * 2 ** 20);
    assert.match(await readFile(gaps, 'utf8'), /^(\d+ \d+ \d+ \d+ \d+\n)+$/);
  });
});
