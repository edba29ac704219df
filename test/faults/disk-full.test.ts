import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { checkAftermath, type Expected } from './harness/aftermath.ts';
import { type FaultScene, startScene } from './harness/scene.ts';
import { SmallDisk } from './harness/small-disk.ts';

const HOST = { name: 'full', cpus: 2, memoryGb: 2 };
const MB = 2 ** 20;
/** What a submission is tried with. */
const PROBE = 'true';

describe('a full disk', () => {
  let scene: FaultScene;
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  const disks = new Map<'database' | 'logs' | 'artifacts', SmallDisk>();
  const expected = new Map<string, Expected>();

  before(async () => {
    directory = await temporaryDirectory();
    for (const name of ['database', 'logs', 'artifacts'] as const)
      disks.set(name, await SmallDisk.make(directory.path, name, 16 * MB));
    scene = await startScene({
      hosts: [HOST],
      env: {
        FLASHPODS_DB_PATH: join(disk('database').path, 'flashpods.db'),
        FLASHPODS_LOGS_PATH: disk('logs').path,
        FLASHPODS_ARTIFACTS_PATH: disk('artifacts').path,
      },
    });
  });
  afterEach(() => {
    for (const each of disks.values()) each.free();
  });
  after(async () => {
    await scene.stop();
    for (const each of disks.values()) await each.remove();
    await directory.remove();
  });

  function disk(name: 'database' | 'logs' | 'artifacts'): SmallDisk {
    const found = disks.get(name);
    if (!found) throw new Error(`no disk for ${name}`);
    return found;
  }

  it('of the database: nothing is accepted and forgotten, and what ran ends with its true exit code when there is room', async () => {
    const job = await scene.submit({ gated: true, exitCode: 3 });
    await job.told.hasBegun();
    disk('database').fill();
    const refused = await eventually('a submission is refused', async () => {
      const { status, body } = await scene.stack.caller.json('POST', '/jobs', {
        type: 'worker',
        command: PROBE,
        network: 'none',
        cpus: 1,
        memory_gb: 1,
      });
      return status === 201 ? null : { status, code: body['error'] };
    });
    assert.ok(refused.status >= 500, JSON.stringify(refused));
    job.told.open();
    await eventually('its command has ended', () => job.told.ended);
    disk('database').free();
    await checkAftermath(scene, { expected: await withAccepted() });
  });

  it('of the logs: the job ends with its true exit code, and says that the end of its log is missing', async () => {
    const { id, told } = await scene.submit({ gated: true, exitCode: 4, lines: 4_000 });
    await told.hasBegun();
    disk('logs').fill();
    told.open();
    const job = await scene.stack.caller.ended(id);
    disk('logs').free();
    assert.equal(job.exit_code, 4);
    assert.ok(
      job.warnings.some((warning) => warning.includes('log')),
      JSON.stringify(job.warnings),
    );
    expected.set(id, { status: 'failed', exitCode: 4, costs: 'log' });
    await checkAftermath(scene, { expected: await withAccepted() });
  });

  it('of the artifacts: the job fails with the code that says so, its exit code beside it', async () => {
    disk('artifacts').fill();
    const { id } = await scene.submit({ exitCode: 0 });
    const job = await scene.stack.caller.ended(id);
    assert.deepEqual([job.error, job.exit_code], ['artifact_copy_disk_full', 0]);
    disk('artifacts').free();
    expected.set(id, { status: 'failed', error: 'artifact_copy_disk_full', exitCode: 0, costs: 'artifacts' });
    await scene.submit({ exitCode: 2 });
    await checkAftermath(scene, { expected: await withAccepted() });
  });

  /** Jobs that got in though the disk was nearly full are to be completed like any other. */
  async function withAccepted(): Promise<ReadonlyMap<string, Expected>> {
    const { body } = await scene.stack.caller.json<{ jobs: { id: string; command: string }[] }>(
      'GET',
      '/jobs?limit=100',
    );
    const accepted = body.jobs.filter(({ command }) => command === PROBE);
    return new Map([
      ...expected,
      ...accepted.map(({ id }): [string, Expected] => [id, { status: 'completed', exitCode: 0 }]),
    ]);
  }
});
