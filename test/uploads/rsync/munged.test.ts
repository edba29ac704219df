import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readlink, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Directory } from '../../../src/trees/directory.ts';
import { Scratch } from '../../../src/uploads/base.ts';
import { TreeTimes } from '../../../src/trees/times.ts';
import { restoreSymlinks } from '../../../src/uploads/rsync/munged.ts';

describe('symlinks that rsync made harmless', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'fp-'));
    for (const name of ['tree/d', 'scratch']) await mkdir(join(dir, name), { recursive: true });
  });
  afterEach(() => rm(dir, { recursive: true }));

  it('get the targets back that the client sent', async () => {
    await symlink('/rsyncd-munged/../f', join(dir, 'tree', 'd', 'up'));
    await symlink('/rsyncd-munged//etc/passwd', join(dir, 'tree', 'out'));
    await symlink('d', join(dir, 'tree', 'plain'));
    const tree = await Directory.open(join(dir, 'tree'));
    const scratch = await Directory.open(join(dir, 'scratch'));
    try {
      // Twice, as after a crash.
      for (let time = 0; time < 2; time++) {
        const times = new TreeTimes(tree);
        await restoreSymlinks(tree, new Scratch(scratch), times);
        await times.close();
      }
    } finally {
      await tree.close();
      await scratch.close();
    }
    assert.equal(await readlink(join(dir, 'tree', 'd', 'up')), '../f');
    assert.equal(await readlink(join(dir, 'tree', 'out')), '/etc/passwd');
    assert.equal(await readlink(join(dir, 'tree', 'plain')), 'd');
  });
});
