/** What must hold after a fault of any kind. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createKeys } from '../../../queues/keys.ts';
import type { QueueResources } from '../../../queues/resources.ts';
import { LABELS } from '../../../src/containers/podman/container/labels.ts';
import { loopDevices, mountsBelow } from '../../../src/containers/podman/disks/mounts.ts';
import { Database } from '../../../src/database/database.ts';
import { type JobStores, jobStores } from '../../../src/database/job-stores.ts';
import type { Job } from '../../../src/jobs/job.ts';
import { isTerminal, type JobState } from '../../../src/jobs/states.ts';
import { LocalLogStore } from '../../../src/logs/local-log-store.ts';
import { eventually } from '../../support/eventually.ts';
import { texts } from '../../support/http.ts';
import { listContainers } from '../../support/podman-ps.ts';
import type { WorkerSize } from '../../support/stack.ts';
import type { Ledger, LedgerJob } from './ledger.ts';

export interface Scene {
  /** The data directory. */
  readonly dir: string;
  /** Settings of its processes; what is not in there has its default. */
  readonly env: Readonly<Record<string, string>>;
  readonly podmanSocket: string;
  readonly queues: QueueResources;
  readonly hosts: readonly WorkerSize[];
  readonly ledger: Ledger;
}

/** How a job was to end, where that is not by itself with its own exit code. */
export interface Expected {
  readonly status: JobState;
  readonly exitCode?: number | null;
  readonly error?: string | null;
  /** What a full disk cost it: the end of its log, or its artifacts. Only this may be missing. */
  readonly costs?: 'log' | 'artifacts';
}

export interface AftermathOptions {
  /** By id, the jobs that do not end by themselves. A list: whichever of these. */
  readonly expected?: ReadonlyMap<string, Expected | readonly Expected[]>;
  /** Until every job is terminal and everything of it is gone. Default 60,000. */
  readonly timeoutMs?: number;
}

export interface Aftermath {
  readonly jobs: readonly Job[];
  /** By id, the states that each job went through after `pending`. */
  readonly states: ReadonlyMap<string, readonly string[]>;
  /** Jobs whose container began. */
  readonly begun: number;
  /** The most that ran at one instant. */
  readonly mostAtOnce: number;
}

/**
 * Waits until all jobs are terminal and nothing of them is left, and checks: each terminal exactly once with its true
 * exit code, begun at most once, no capacity exceeded at any instant (both by the ledger), logs whole, artifacts there,
 * no drift, nothing left in Redis, in Podman, in the kernel or on the disk. Workers must be running.
 * @throws AssertionError
 */
export async function checkAftermath(scene: Scene, options: AftermathOptions = {}): Promise<Aftermath> {
  const database = await Database.open({
    path: scene.env['FLASHPODS_DB_PATH'] ?? join(scene.dir, 'flashpods.db'),
  });
  try {
    const stores = jobStores(database);
    const deploymentId = await database.deploymentId();
    const timeoutMs = options.timeoutMs ?? 60_000;
    await eventually('every job is terminal', async () => allTerminal(await everyJob(stores)), {
      timeoutMs,
      everyMs: 50,
    });
    await eventually(
      'nothing is left',
      async () => assert.deepEqual(await leftovers(scene, deploymentId), []) ?? true,
      {
        timeoutMs,
        everyMs: 100,
      },
    );
    const jobs = await everyJob(stores);
    const states = new Map<string, readonly string[]>();
    for (const job of jobs)
      states.set(job.id, await checkJob(job, scene, stores, options.expected?.get(job.id)));
    return { jobs, states, begun: scene.ledger.instants.length, mostAtOnce: checkCapacity(jobs, scene) };
  } finally {
    await database.close();
  }
}

function allTerminal(jobs: readonly Job[]): boolean {
  const going = jobs.filter((job) => !isTerminal(job.status));
  if (going.length === 0) return true;
  throw new Error(going.map(({ id, status, host, epoch }) => `${id} ${status} ${host} ${epoch}`).join('; '));
}

async function everyJob({ queries }: JobStores): Promise<Job[]> {
  const filter = { owner: null, states: null, type: null, label: null, beforePosition: null };
  return (await queries.list({ ...filter, limit: 100_000 })).jobs;
}

/** @returns the states that it went through */
async function checkJob(
  job: Job,
  scene: Scene,
  stores: JobStores,
  expected: Expected | readonly Expected[] | undefined,
): Promise<string[]> {
  const told = scene.ledger.of(job.id);
  const events = await stores.journal.read({ jobId: job.id, limit: 10_000 });
  const context = `${job.id}: ${JSON.stringify({ job, events: events.map((each) => each.payload) })}`;
  const ends = events.filter(({ payload }) => isTerminal(payload['status']));
  assert.equal(ends.length, 1, `terminal ${ends.length} times: ${context}`);
  assert.deepEqual(
    events.map((each) => each.seq),
    events.map((_, index) => index + 1),
    `its journal has gaps: ${context}`,
  );
  if (told) {
    const containers = told.begun.map(({ jobId, container }) => `${jobId} in ${container}`);
    assert.equal(containers.length, 1, `begun more than once: ${containers.join(', ')}; ${context}`);
  }
  const allowed = expected === undefined ? [ownEnd(told)] : [expected].flat();
  const actual = { status: job.status, exitCode: job.exitCode, error: job.error };
  const fits = ({ status, exitCode, error }: Expected): boolean =>
    status === actual.status &&
    (exitCode === undefined || exitCode === actual.exitCode) &&
    (error === undefined || error === actual.error);
  const found = allowed.find(fits);
  assert.ok(found, `ended otherwise than ${JSON.stringify(allowed)}: ${context}`);
  if (expected === undefined) assert.ok(told?.ended, `it never came to its end: ${context}`);
  if (told) await checkOutput(job, told, scene, stores, { context, costs: found.costs });
  return events
    .filter((each) => each.type !== 'accepted' && each.type !== 'waiting' && each.type !== 'ending_decided')
    .map(({ payload }) => String(payload['status']));
}

/** How a job ends that nobody disturbs: by its own exit code. */
function ownEnd(told: LedgerJob | null): Expected {
  if (!told) return { status: 'completed' };
  const { exitCode } = told;
  return { status: exitCode === 0 ? 'completed' : 'failed', exitCode };
}

/** Every line that it printed is in its log once and in order; if it came to its end, all of them, and its artifact. */
async function checkOutput(
  job: Job,
  told: LedgerJob,
  scene: Scene,
  { queries }: JobStores,
  { context, costs }: { context: string; costs: Expected['costs'] },
): Promise<void> {
  const logsDir = scene.env['FLASHPODS_LOGS_PATH'] ?? join(scene.dir, 'logs');
  const log = (await new LocalLogStore(logsDir).readTail(job.id, 100_000))?.output.toString() ?? '';
  const printed = texts(log).filter((line) => line.startsWith('line '));
  const length = told.ended && costs !== 'log' ? told.lines : printed.length;
  const whole = Array.from({ length }, (_, at) => `line ${at + 1}`);
  assert.deepEqual(printed, whole, `its log is not whole: ${context}`);
  if (!told.ended || costs === 'artifacts') return;
  const artifacts = (await queries.artifacts(job.id)).map((each) => each.name);
  assert.deepEqual(artifacts, ['job'], `its artifact is missing: ${context}`);
}

/** @returns the most that ran at one instant */
function checkCapacity(jobs: readonly Job[], { hosts, ledger }: Scene): number {
  const rows = new Map(jobs.map((job) => [ledger.of(job.id)?.slot, job]));
  let most = 0;
  for (const { slots } of ledger.instants) {
    most = Math.max(most, slots.length);
    for (const host of hosts) {
      const here = slots.flatMap((slot) => {
        const row = rows.get(slot);
        const job = ledger.jobs[slot];
        return job && row?.host === host.name ? [job] : [];
      });
      const cpus = here.reduce((sum, job) => sum + job.cpus, 0);
      const memoryGb = here.reduce((sum, job) => sum + job.memoryGb, 0);
      assert.ok(
        cpus <= host.cpus && memoryGb <= host.memoryGb,
        `${host.name} ran ${cpus} cpus and ${memoryGb} GB at once: ${here.map((job) => job.slot).join(', ')}`,
      );
    }
  }
  return most;
}

/** Everything that is left of jobs though none is to run, one sentence each. */
async function leftovers(scene: Scene, deploymentId: string): Promise<string[]> {
  const [redis, containers, files, processes] = await Promise.all([
    inRedis(scene),
    inPodman(scene, deploymentId),
    onDisk(scene),
    runningProcesses(scene),
  ]);
  // Layers of images are not a job's: they stay while the worker runs.
  const mounts = mountsBelow(join(scene.dir, 'hosts'))
    .filter(({ target }) => !target.includes('/layers/'))
    .map(({ target }) => `mount ${target}`);
  const loops = [...loopDevices()]
    .filter(([file]) => file.startsWith(join(scene.dir, 'hosts')))
    .map(([file, device]) => `${device} of ${file}`);
  return [...redis, ...containers, ...files, ...processes, ...mounts, ...loops];
}

async function inRedis({ queues, hosts }: Scene): Promise<string[]> {
  const drift = (await queues.semaphore.audit()).map((each) => `audit: ${each}`);
  const { reservations } = await queues.semaphore.view();
  const held = reservations.map((each) => `reservation of ${each.jobId} on ${each.host}`);
  const { prefix } = createKeys(queues.keys.prefix);
  const keys: string[] = [];
  for (let cursor = '0'; ;) {
    const [next, page] = await queues.connection.scan(cursor, 'MATCH', `${prefix}:*`, 'COUNT', 1_000);
    keys.push(...page);
    if (next === '0') break;
    cursor = next;
  }
  const shown = new Set<string>();
  for (const { name } of hosts) {
    // A killed worker's lock keeps its entries `active` until it expires after two minutes; the next worker clears
    // them away then (a case of `hosts.test.ts`), and nobody decides by them.
    const ids = await queues.queues.run(name).getRanges(['completed', 'failed', 'active'], 0, 10_000);
    for (const id of ids) for (const end of ['', ':lock']) shown.add(`${prefix}:run-${name}:${id}${end}`);
  }
  // Of a job that is over, Redis keeps its last release for five minutes, and the entry that Bull Board shows.
  const left = keys.filter(
    (key) => key.includes('job_') && !key.startsWith(`${prefix}:released:`) && !shown.has(key),
  );
  return [...drift, ...held, ...(await Promise.all(left.map((key) => describeKey(key, queues, hosts))))];
}

/** With the list that holds it, where it is an entry of a host's queue. */
async function describeKey(
  key: string,
  queues: QueueResources,
  hosts: readonly WorkerSize[],
): Promise<string> {
  for (const { name } of hosts) {
    const entry = `${queues.keys.prefix}:run-${name}:`;
    if (key.startsWith(entry)) {
      const state = await queues.queues.run(name).getJobState(key.slice(entry.length));
      return `key ${key}, ${state}`;
    }
  }
  return `key ${key}`;
}

/** Podman's storage is the machine's: others may run their jobs beside these. */
async function inPodman({ podmanSocket }: Scene, deploymentId: string): Promise<string[]> {
  const listed = await listContainers(podmanSocket, {
    label: [`${LABELS.deployment}=${deploymentId}`, `${LABELS.job}=true`],
  });
  return listed.map(({ Labels }) => `container of ${Labels[LABELS.jobId]} on ${Labels[LABELS.host]}`);
}

async function onDisk({ dir, env, hosts }: Scene): Promise<string[]> {
  const found: string[] = [];
  for (const { name } of hosts) {
    for (const part of ['sandboxes', 'journal']) {
      const entries = await readdir(join(dir, 'hosts', name, part)).catch(() => []);
      found.push(...entries.map((entry) => `${part} of ${name}: ${entry}`));
    }
  }
  // Artifacts on their way are beside their place.
  const artifacts = env['FLASHPODS_ARTIFACTS_PATH'] ?? join(dir, 'artifacts');
  for (const entry of await readdir(artifacts).catch(() => []))
    if (!/^(job_[a-z0-9]{12}|lost\+found|ballast)$/.test(entry)) found.push(`artifacts: ${entry}`);
  return found;
}

/** Monitors of containers, and programs that were to make or take away what belongs to a sandbox. */
async function runningProcesses({ dir }: Scene): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    // The guard of a worker's spools ends with the worker, when it has no spool left.
    if (command.includes(join(dir, 'hosts')) && !command.includes('spool-guard'))
      found.push(`process ${pid}: ${command.replaceAll('\0', ' ').slice(0, 200)}`);
  }
  return found;
}
