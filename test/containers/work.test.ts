import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type TestPodman, runToEnd, startTestPodman } from '../support/podman.ts';

describe('a /work that a job may write to', () => {
  let podman: TestPodman;
  let directory: string;
  let snapshot: string;
  before(async () => {
    podman = await startTestPodman();
    directory = mkdtempSync(join(tmpdir(), 'fp-work-'));
    snapshot = join(directory, 'work');
    mkdirSync(join(snapshot, 'd'), { recursive: true });
    writeFileSync(join(snapshot, 'd', 'f'), 'old\n');
    writeFileSync(join(snapshot, 'gone'), '');
    for (const path of [directory, snapshot]) chmodSync(path, 0o755);
    const { idBase } = podman.runtime.facts;
    if (idBase === null) return;
    for (const path of ['', 'd', 'd/f', 'gone']) chownSync(join(snapshot, path), idBase, idBase);
  });
  after(async () => {
    await podman.end();
    rmSync(directory, { recursive: true });
  });

  it('is the job’s own: neither the snapshot nor another job sees what it does', async () => {
    const inode = statSync(join(snapshot, 'd', 'f')).ino;
    const job = {
      workDir: snapshot,
      workReadOnly: false,
      script: 'cat d/f; ls; echo new >> d/f; rm gone; touch made; chmod 700 d; cat d/f; ls',
    };
    for (let run = 1; run <= 2; run++) {
      const { output } = await runToEnd(podman.runtime, job);
      assert.match(output, /old\nd\ngone\nold\nnew\nd\nmade\n/, `run ${run}`);
    }
    assert.deepEqual(readdirSync(snapshot).sort(), ['d', 'gone']);
    assert.equal(readFileSync(join(snapshot, 'd', 'f'), 'utf8'), 'old\n');
    assert.equal(statSync(join(snapshot, 'd', 'f')).ino, inode);
    assert.equal(statSync(join(snapshot, 'd')).mode & 0o777, 0o755);
  });

  it('fills the job’s disk and no other', async () => {
    const { output } = await runToEnd(podman.runtime, {
      workDir: snapshot,
      workReadOnly: false,
      diskBytes: 64 * 1024 * 1024,
      script: 'dd if=/dev/zero of=big bs=1M count=200 2>&1 | tail -1; exit 0',
    });
    assert.doesNotMatch(output, /209715200 bytes/);
    assert.deepEqual(readdirSync(snapshot).sort(), ['d', 'gone']);
  });
});
