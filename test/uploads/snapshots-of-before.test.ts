import assert from 'node:assert/strict';
import { chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { describe, it } from 'mocha';
import { LocalSnapshotStore } from '../../src/uploads/local-snapshot-store.ts';
import { treeIds } from '../../src/uploads/tree.ts';
import { newUploadId } from '../../src/ids.ts';
import { runToEnd, startTestPodman } from '../support/podman.ts';
import { scratch } from '../support/scratch.ts';

describe('a snapshot of the version before, which lay under its id alone', () => {
  const dir = scratch();
  const store = (): LocalSnapshotStore => new LocalSnapshotStore(dir.path('snapshots'), treeIds(1_000_000));

  const leave = async (): Promise<string> => {
    await dir.make();
    const id = newUploadId();
    await mkdir(dir.path('snapshots', id, 'd'), { recursive: true });
    await writeFile(dir.path('snapshots', id, 'd', 'f'), 'old\n', { mode: 0o600 });
    for (const path of ['', 'd', 'd/f']) await chown(dir.path('snapshots', id, path), 1_000_000, 1_000_000);
    return id;
  };

  it('becomes a layer when jobs want it, also several at once, and is one upload all along', async () => {
    const id = await leave();
    const snapshots = store();
    assert.deepEqual([await snapshots.has(id), await snapshots.list()], [true, [id]]);
    const paths = await Promise.all(Array.from({ length: 8 }, () => snapshots.materialise(id)));
    assert.deepEqual(new Set(paths), new Set([dir.path('snapshots', `${id}.layer`, 'work')]));
    assert.equal(await readFile(`${paths[0] ?? ''}/d/f`, 'utf8'), 'old\n');
    assert.deepEqual([await snapshots.has(id), await snapshots.list()], [true, [id]]);
    await snapshots.delete(id);
    assert.deepEqual(await readdir(dir.path('snapshots')), []);
  });

  it('is the base of an upload of this version', async () => {
    const [base, id] = [await leave(), newUploadId()];
    await mkdir(dir.path('incoming'));
    await writeFile(dir.path('incoming', 'new'), 'new\n');
    const facts = await store().seal(id, dir.path('incoming'), {
      base: { id: base, deletions: new Set(), isFull: false },
      munged: false,
    });
    assert.equal(facts.fileCount, 2);
    assert.equal(await readFile(dir.path('snapshots', `${id}.layer`, 'work', 'd', 'f'), 'utf8'), 'old\n');
  });

  it('belongs to the user of a job, to read and to write', async () => {
    const id = await leave();
    const workDir = await store().materialise(id);
    const podman = await startTestPodman();
    try {
      for (const workReadOnly of [true, false]) {
        const script = 'cat d/f; stat -c "%U %a" . d/f; echo new > d/f && cat d/f';
        const { output } = await runToEnd(podman.runtime, { workDir, workReadOnly, script });
        assert.match(output, /^old\njob 755\njob 600\n/);
        assert.equal(output.endsWith('new\n'), !workReadOnly, output);
      }
      assert.equal(await readFile(dir.path('snapshots', `${id}.layer`, 'work', 'd', 'f'), 'utf8'), 'old\n');
    } finally {
      await podman.end();
    }
  });
});
