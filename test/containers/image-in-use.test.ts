import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { after, before, describe, it } from 'mocha';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { makeBareImage, type TestImage } from '../support/agent-image.ts';
import { eventually } from '../support/eventually.ts';
import { finished, launch, printed, runToEnd, startTestPodman, type TestPodman } from '../support/podman.ts';

/** Goes on for as long as nobody says `go`, and then reads what only its image has. */
const WAIT = 'echo begun; while [ ! -e /artifacts/go ]; do :; done; read -r line < /etc/mine; echo "$line"';

describe('an image that somebody takes away while jobs run in it', () => {
  let podman: TestPodman;
  let directory: string;
  const path = process.env['PATH'];
  before(async () => {
    // A storage of its own, since what is pruned here would be missed by others.
    directory = mkdtempSync(join(tmpdir(), 'fp-storage-'));
    const real = execFileSync('sh', ['-c', 'command -v podman'], { encoding: 'utf8' }).trim();
    mkdirSync(join(directory, 'bin'));
    writeFileSync(
      join(directory, 'storage.conf'),
      `[storage]\ndriver = "overlay"\ngraphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`,
    );
    // The program that the wrapper of scripts/isolated calls has its storage by a variable, which it sets itself.
    const program = /exec (\/\S+)/.exec(execFileSync('cat', [real], { encoding: 'latin1' }))?.[1] ?? real;
    writeFileSync(
      join(directory, 'bin', 'podman'),
      `#!/bin/sh\nCONTAINERS_STORAGE_CONF=${directory}/storage.conf exec ${program} "$@"\n`,
      { mode: 0o755 },
    );
    process.env['PATH'] = `${directory}/bin:${path}`;
    podman = await startTestPodman({ imageIdleMs: 100 });
  });
  after(async () => {
    await podman.end();
    assert.equal((await execa('podman', ['pod', 'ps', '--quiet'])).stdout, '', 'nothing is left');
    await execa('podman', ['rmi', '--all', '--force']);
    process.env['PATH'] = path;
    await execa('umount', ['-l', join(directory, 'graph', 'overlay')], { reject: false });
    rmSync(directory, { recursive: true });
  });

  /** The layers of an image, to the byte, with owners, modes and times. */
  const layersOf = async ({ name }: TestImage): Promise<string> => {
    const format = '{{.GraphDriver.Data.UpperDir}} {{.GraphDriver.Data.LowerDir}}';
    const inspected = await execa('podman', ['image', 'inspect', '--format', format, name]);
    const paths = inspected.stdout.split(/[ :]/).filter((path) => path.startsWith('/'));
    const command = 'tar --sort=name --absolute-names -cf - "$@" | sha256sum';
    return (await execa('sh', ['-c', command, 'sh', ...paths])).stdout;
  };
  const mapped = (): string[] =>
    readdirSync(join(podman.directory, 'data', 'layers')).filter((name) => /^[0-9a-f]{16}$/.test(name));

  it('stays, to the byte, for `podman rmi` and `podman system prune --all`, and so do its jobs', async () => {
    const image = await makeBareImage({ '/etc/mine': 'of the image\n' });
    const jobs: Sandbox[] = [];
    try {
      const before = await layersOf(image);
      await podman.runtime.ensureImage(image.name, () => undefined, AbortSignal.timeout(5_000));
      jobs.push(
        ...(await Promise.all([1, 2].map(() => launch(podman.runtime, { image: image.name, script: WAIT })))),
      );
      for (const job of jobs) await eventually('it has begun', () => printed(job).includes('begun'));
      assert.ok(mapped().length > 0);
      const refused = await execa('podman', ['rmi', image.name], { reject: false });
      assert.match(refused.stderr, /in use/);
      await execa('podman', ['system', 'prune', '--all', '--force', '--volumes']);
      assert.equal(await layersOf(image), before);
      // A third begins in what is left.
      const { output } = await runToEnd(podman.runtime, {
        image: image.name,
        script: 'read -r line < /etc/mine; echo "$line"',
      });
      assert.equal(output, 'of the image\n');
      for (const job of jobs) {
        writeFileSync(join(await job.artifactsPath(), 'go'), '');
        assert.equal((await finished(job)).output, 'begun\nof the image\n');
      }
      assert.equal(await layersOf(image), before, 'nothing that jobs did reached the image');
    } finally {
      for (const job of jobs) await job.dispose();
      await image.remove();
    }
  });

  it('is gone for `podman rmi --force`: its jobs end, and the storage takes the next image', async () => {
    const image = await makeBareImage({ '/etc/mine': 'of the image\n' });
    await podman.runtime.ensureImage(image.name, () => undefined, AbortSignal.timeout(5_000));
    const job = await launch(podman.runtime, { image: image.name, script: WAIT });
    await eventually('it has begun', () => printed(job).includes('begun'));
    await execa('podman', ['rmi', '--force', image.name]);
    writeFileSync(join(await job.artifactsPath(), 'go'), '');
    assert.equal((await finished(job)).state.phase, 'exited');
    await job.dispose();

    const next = await makeBareImage({ '/etc/mine': 'of the next image\n' });
    try {
      await podman.runtime.ensureImage(next.name, () => undefined, AbortSignal.timeout(5_000));
      const script = 'read -r line < /etc/mine; echo "$line"';
      assert.equal(
        (await runToEnd(podman.runtime, { image: next.name, script })).output,
        'of the next image\n',
      );
      assert.equal((await execa('podman', ['system', 'df'])).exitCode, 0);
    } finally {
      await next.remove();
    }
  });

  it('is let go a while after its last job, and its layers are no longer mapped', async () => {
    await eventually('no layer is mapped', () => mapped().length === 0);
    assert.equal((await execa('podman', ['ps', '--all', '--quiet'])).stdout, '');
  });
});
