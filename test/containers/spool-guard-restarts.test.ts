import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { guardSpools } from '../../src/containers/podman/sandbox/spool-guard.ts';
import { ifMissing } from '../../src/files/if-missing.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

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

  it('does without half of a line that the one before it wrote', async () => {
    const entry = `2026-01-02T03:04:05.123456789+00:00 stdout F ${'x'.repeat(100)}\n`;
    const spool = join(root, 'one', 'spool.log');
    const gaps = join(root, 'one', 'spool.gaps');
    await writeFile(gaps, '12 3');
    await writeFile(spool, entry.repeat(2 ** 16));
    guard(4 * 2 ** 20);
    await eventually('it gave something back', async () => (await stat(spool)).blocks * 512 < 4 * 2 ** 20);
    assert.match(await readFile(gaps, 'utf8'), /^(\d+ \d+ \d+ \d+ \d+\n)+$/);
  });
});
