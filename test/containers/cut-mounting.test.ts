import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { mountsBelow } from '../../src/containers/podman/disks/mounts.ts';
import { sandboxPaths } from '../../src/containers/podman/sandbox/paths.ts';
import { provision, startTestPodman, type TestPodman, testSpec } from '../support/podman.ts';

const HELPER = new URL('../../src/containers/podman/rootfs/mounting.pl', import.meta.url);
/** Arguments of each step, as the helper itself says. */
const COUNTS = new Map(
  [...readFileSync(HELPER, 'utf8').matchAll(/^ {4}(\w+) => \[(\d), /gm)].map(([, name, count]) => [
    name,
    Number(count),
  ]),
);

/** Each takes three mountings: every third step, where there is no time for all. */
const STRIDE = process.env['FLASHPODS_FAULTS'] === 'full' ? 1 : 3;

describe('the making of a root that is cut after one of its steps', () => {
  let podman: TestPodman;
  let directory: string;
  const path = process.env['PATH'];
  before(async () => {
    podman = await startTestPodman();
    directory = mkdtempSync(join(tmpdir(), 'fp-cut-'));
    mkdirSync(join(directory, 'bin'));
    mkdirSync(join(directory, 'work'));
    chmodSync(directory, 0o755);
    writeFileSync(join(directory, 'work', 'f'), 'mine\n');
    // Does as many steps as there are lines in the file `steps`, and dies; all of them where there is no such file.
    const perl = execFileSync('sh', ['-c', 'command -v perl'], { encoding: 'utf8' }).trim();
    writeFileSync(
      join(directory, 'bin', 'perl'),
      `#!/bin/bash
printf '%s\\n' "$@" > ${directory}/asked
[ -e ${directory}/steps ] || exec ${perl} "$@"
mapfile -t kept < ${directory}/steps
${perl} "$1" "\${kept[@]}"
kill -9 $$
`,
      { mode: 0o755 },
    );
    process.env['PATH'] = `${directory}/bin:${path}`;
  });
  after(async () => {
    process.env['PATH'] = path;
    await podman.end();
    rmSync(directory, { recursive: true });
  });

  it('is whole after the next try, whichever step it was, and nothing of it stays', async () => {
    const { runtime } = podman;
    const steps = join(directory, 'steps');
    let cuts = STRIDE;
    for (let at = 0; at <= cuts; at += at === 0 ? 1 : STRIDE) {
      const spec = testSpec({ workDir: join(directory, 'work'), workReadOnly: false });
      const sandbox = await provision(runtime, spec);
      const paths = sandboxPaths(join(podman.directory, 'data', 'sandboxes', sandbox.id));
      if (at === 0) {
        // Once whole: what is known of the image then is not asked again.
        await sandbox.bind(spec);
        await sandbox.start();
        await sandbox.waitForExit(AbortSignal.timeout(60_000));
        await sandbox.dispose();
        continue;
      }
      // What the steps of this sandbox are is known only when they are asked for.
      writeFileSync(steps, '');
      await sandbox.bind(spec);
      await assert.rejects(sandbox.start(), `cut before step 1 of ${at}`);
      const asked = stepsOf(readFileSync(join(directory, 'asked'), 'utf8'));
      cuts = asked.length;
      writeFileSync(steps, asked.slice(0, at).flat().join('\n') + '\n');
      await assert.rejects(sandbox.start(), `cut after ${at} steps`);
      rmSync(steps);
      await sandbox.artifactsPath();
      const told = `cut after ${asked[at - 1]?.join(' ')}`;
      assert.match(readFileSync(join(paths.root, 'etc', 'passwd'), 'utf8'), /^job:x:1000:/m, told);
      assert.equal(readFileSync(join(paths.root, 'work', 'f'), 'utf8'), 'mine\n', told);
      assert.equal(statSync(join(paths.root, 'home', 'job')).uid, 1_001_000, told);
      assert.equal(statSync(join(paths.root, 'tmp')).mode & 0o7777, 0o1777, told);
      assert.equal(mountsBelow(paths.root).length, 1, told);
      await sandbox.dispose();
      assert.deepEqual([mountsBelow(paths.rootPlace), mountsBelow(paths.directory)], [[], []], told);
      assert.ok(!existsSync(paths.rootPlace), told);
    }
    assert.ok(cuts > 10, `only ${cuts} steps`);
  });

  const stepsOf = (asked: string): string[][] => {
    const [, ...words] = asked.trimEnd().split('\n');
    const steps: string[][] = [];
    while (words.length > 0) steps.push(words.splice(0, 1 + (COUNTS.get(words[0] ?? '') ?? 0)));
    return steps;
  };
});
