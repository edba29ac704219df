/** A {@link Stack} with a ledger: what every case of the suite begins with. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createPodmanRuntime } from '../../../src/containers/podman/podman-runtime.ts';
import { Database } from '../../../src/database/database.ts';
import { eventually } from '../../support/eventually.ts';
import type { RoleProcess } from '../../support/processes.ts';
import { type HowToStart, type Stack, startStack, type WorkerSize } from '../../support/stack.ts';
import type { Scene } from './aftermath.ts';
import { Ledger, type LedgerJob, type LedgerJobOptions } from './ledger.ts';
import { type Plan, underPlan } from './plan.ts';

const ROLE = fileURLToPath(new URL('../fixtures/role.ts', import.meta.url));

export interface FaultScene extends Scene {
  readonly stack: Stack;
  /** Submits a job that tells of itself. */
  submit(options?: LedgerJobOptions, more?: Record<string, unknown>): Promise<SubmittedJob>;
  /** The same onto a host that takes nothing else: it is drained before and after. */
  submitTo(host: string, options?: LedgerJobOptions, more?: Record<string, unknown>): Promise<SubmittedJob>;
  /** Drains or undrains a host as an operator does. */
  drain(host: string, draining: boolean): Promise<void>;
  /** Starts a worker that follows a plan, and waits until its host is up. */
  startWorker(size: WorkerSize, plan?: Plan, env?: Record<string, string>): Promise<RoleProcess>;
  /** The same without waiting. */
  launchWorker(size: WorkerSize, plan?: Plan, env?: Record<string, string>): RoleProcess;
  stop(): Promise<void>;
}

export interface SubmittedJob {
  readonly id: string;
  readonly told: LedgerJob;
}

/** @param options.hosts all hosts that the case will ever use; `started`: those that have a worker at once, default all */
export async function startScene(options: {
  hosts: readonly WorkerSize[];
  started?: readonly WorkerSize[];
  env?: Record<string, string>;
}): Promise<FaultScene> {
  const stack = await startStack({
    workers: options.started ?? options.hosts,
    env: { FLASHPODS_JOB_DISK_MB: '64', ...options.env },
  });
  const created = await stack.caller.json<{ upload_id: string }>('POST', '/uploads', {});
  const id = created.body.upload_id;
  const sealed = await stack.caller.json('POST', `/uploads/${id}/finalize`, { reusable: true });
  if (sealed.status !== 200) throw new Error(`finalize: ${JSON.stringify(sealed.body)}`);
  const ledger = await Ledger.open(join(stack.dir, 'uploads', 'snapshots', `${id}.layer`, 'work'), id);
  const how = (plan?: Plan, env?: Record<string, string>): HowToStart => ({
    ...(plan === undefined ? {} : { program: ROLE }),
    env: { ...env, ...(plan === undefined ? {} : underPlan(plan)) },
  });
  const submit: FaultScene['submit'] = async (jobOptions = {}, more = {}) => {
    const told = await ledger.job(jobOptions);
    const { status, body } = await stack.caller.json('POST', '/jobs', { ...told.request, ...more });
    if (status !== 201) throw new Error(`submit: ${status} ${JSON.stringify(body)}`);
    return { id: String(body['job_id']), told };
  };
  const { semaphore } = stack.queues;
  const drain: FaultScene['drain'] = async (host, draining) => {
    const { status, body } = await stack.caller.json(
      'POST',
      `/hosts/${host}/${draining ? 'drain' : 'undrain'}`,
      {},
    );
    if (status !== 200) throw new Error(`drain: ${status} ${JSON.stringify(body)}`);
  };
  return {
    dir: stack.dir,
    env: stack.env,
    podmanSocket: stack.podman.socketPath,
    queues: stack.queues,
    hosts: options.hosts,
    ledger,
    stack,
    submit,
    drain,
    async submitTo(host, jobOptions, more) {
      await drain(host, false);
      const job = await submit(jobOptions, more);
      await eventually(`${host} has the job`, async () => {
        const row = await stack.caller.job(job.id);
        if (row.host === host) return true;
        throw new Error(`${row.status} on ${row.host}; ${JSON.stringify(await semaphore.view())}`);
      });
      await drain(host, true);
      return job;
    },
    startWorker: (size, plan, env) => stack.startWorker(size, how(plan, env)),
    launchWorker: (size, plan, env) => stack.launchWorker(size, how(plan, env)),
    async stop() {
      await stack.endRoles();
      for (const host of options.hosts) await clear(stack, host.name);
      await stack.stop();
      ledger.close();
    },
  };
}

/** Takes away what a case that failed left on the machine. */
async function clear(stack: Stack, hostName: string): Promise<void> {
  const dataDir = join(stack.dir, 'hosts', hostName);
  if ((await readdir(join(dataDir, 'sandboxes')).catch(() => [])).length === 0) return;
  const database = await Database.open({
    path: stack.env['FLASHPODS_DB_PATH'] ?? join(stack.dir, 'flashpods.db'),
  });
  const deploymentId = await database.deploymentId();
  await database.close();
  const runtime = await createPodmanRuntime({
    socketPath: stack.podman.socketPath,
    hostName,
    deploymentId,
    dataDir,
    runDir: join(stack.dir, 'run', 'podman'),
  });
  for (const { sandbox } of await runtime.sandboxes()) await sandbox.dispose();
  await runtime.close();
}
