import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import { uploadDirectory } from '../../src/client/upload/directory.ts';
import { SEED } from '../support/seed.ts';
import { comparable, makeTree, readTree, treeArbitrary, type TreeNode } from '../support/trees.ts';
import { connectionTo } from './wire-server.ts';
import { type RunningApi, startApi } from '../api/running-api.ts';

describe('a tree that was sent', () => {
  let api: RunningApi;
  let client: FlashpodsClient;
  before(async () => {
    const limits = { oneBytes: 50_000_000, totalBytes: 2_000_000_000, unusedMs: 3_600_000 };
    api = await startApi({ rsync: true, limits });
    const connection = {
      ...connectionTo(api.caller.url),
      token: api.token,
      cacheDir: join(api.dir, 'cache'),
    };
    client = new FlashpodsClient(connection);
  });
  after(async () => {
    client.close();
    await api.stop();
  });

  /** Makes a tree large enough to be worth rsync, and to be remembered. */
  const LARGE: TreeNode = {
    ...{ path: 'zz large', type: 'file', mode: 0o640, mtimeNs: 1_700_000_000_000_000_001n, target: null },
    content: 'x'.repeat(1_000_001),
  };

  it('is the same over HTTP and by rsync, and as a change of another: names, modes, times, links, contents', async () => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(treeArbitrary(), treeArbitrary({ maxEntries: 8 }), async (first, second) => {
        run += 1;
        for (const transport of ['http', 'rsync'] as const) {
          const root = join(api.dir, `${transport}-${run}`);
          for (const [index, tree] of [
            [...second, LARGE],
            [...first, LARGE],
          ].entries()) {
            await rm(root, { recursive: true, force: true });
            await makeTree(root, tree);
            if (index === 0 && run % 2 === 0) continue; // whole, without a base
            const { upload, sent } = await uploadDirectory(client, root, { transport });
            assert.ok(sent.transport === transport || sent.transport === 'none');
            const snapshot = join(api.dir, 'uploads', 'snapshots', `${upload.upload_id}.layer`, 'work');
            assert.deepEqual(readTree(snapshot), comparable(tree));
          }
        }
      }),
      { numRuns: Number(process.env['RUNS'] ?? 3), seed: SEED, endOnFailure: true },
    );
  });
});
