import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { listContainers } from '../support/podman-ps.ts';
import { seeded } from '../support/random.ts';
import { type Stack, startStack } from '../support/stack.ts';

const WORKERS = [
  { name: 'storm-a', cpus: 4, memoryGb: 6 },
  { name: 'storm-b', cpus: 3, memoryGb: 4 },
  { name: 'storm-c', cpus: 2, memoryGb: 8 },
] as const;
const JOBS = 200;

describe('a storm of mixed jobs over three workers', () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({ workers: WORKERS, env: { FLASHPODS_JOB_DISK_MB: '64' } });
  });
  after(async () => {
    await stack.stop();
  });

  it(`runs ${JOBS} jobs once each, never exceeds a host's capacity, and ends with nothing reserved`, async function () {
    this.timeout(900_000); // some seconds of a processor for each ten jobs
    const random = seeded(20261121);
    const violations: string[] = [];
    let samples = 0;
    let most = 0;
    let watching = true;
    const watch = async (): Promise<void> => {
      while (watching) {
        const [{ reservations, hosts }, containers] = await Promise.all([
          stack.queues.semaphore.view(),
          runningContainers(stack.podman.socketPath),
        ]);
        samples += 1;
        for (const worker of WORKERS) {
          const held = reservations.filter((entry) => entry.host === worker.name);
          const cpus = held.reduce((sum, entry) => sum + entry.cpusMilli, 0);
          const memory = held.reduce((sum, entry) => sum + entry.memoryMib, 0);
          if (cpus > worker.cpus * 1000 || memory > worker.memoryGb * 1024) {
            violations.push(`reserved on ${worker.name}: ${cpus} milli-cpus, ${memory} MiB`);
          }
          const used = hosts.find((host) => host.name === worker.name)?.used;
          if (used && (used.cpusMilli !== cpus || used.memoryMib !== memory))
            violations.push(`sums of ${worker.name} drift`);
          const here = containers.filter((container) => container.host === worker.name);
          const jobs = here.map((container) => sizes.get(container.jobId) ?? { cpus: 0, memoryGb: 0 });
          const running = jobs.reduce((sum, job) => sum + job.cpus, 0);
          const runningGb = jobs.reduce((sum, job) => sum + job.memoryGb, 0);
          most = Math.max(most, here.length);
          if (running > worker.cpus || runningGb > worker.memoryGb)
            violations.push(`podman ps of ${worker.name}: ${running} cpus, ${runningGb} GB`);
        }
        await new Promise((resume) => setImmediate(resume));
      }
    };

    const sizes = new Map<string, { cpus: number; memoryGb: number; exitCode: number }>();
    const watcher = watch();
    try {
      await Promise.all(
        Array.from({ length: JOBS }, async (_, index) => {
          const cpus = 1 + Math.floor(random() * 4);
          const memoryGb = 1 + Math.floor(random() * 6);
          const exitCode = index % 7;
          const size = {
            cpus: Math.min(cpus, 4),
            memoryGb: cpus > 3 ? Math.min(memoryGb, 6) : memoryGb,
            exitCode,
          };
          const seconds = (random() * 0.4).toFixed(2);
          const id = await stack.caller.submit(`echo ${index}; sleep ${seconds}; exit ${exitCode}`, {
            cpus: size.cpus,
            memory_gb: size.memoryGb,
            priority: 1 + Math.floor(random() * 10),
          });
          sizes.set(id, size);
        }),
      );
      assert.equal(sizes.size, JOBS);
      await eventually(
        'all jobs have ended',
        async () =>
          (await stack.caller.json<{ total: number }>('GET', '/jobs?status=active&limit=1')).body.total === 0,
        { timeoutMs: 600_000, everyMs: 250 },
      );
    } finally {
      watching = false;
      await watcher;
    }
    assert.deepEqual([...new Set(violations)], []);
    assert.ok(samples > 50, `only ${samples} samples`);
    assert.ok(most >= 2, 'jobs ran side by side');
    for (const [id, size] of sizes) {
      const job = await stack.caller.job(id);
      assert.deepEqual(
        [job.exit_code, job.status],
        [size.exitCode, size.exitCode === 0 ? 'completed' : 'failed'],
        JSON.stringify(job),
      );
    }
    await eventually(
      'nothing is reserved',
      async () => (await stack.queues.semaphore.view()).reservations.length === 0,
    );
    assert.deepEqual(await stack.queues.semaphore.audit(), []);
    await eventually(
      'no container is left',
      async () => (await allContainers(stack.podman.socketPath, [...sizes.keys()])) === 0,
    );
    for (const worker of WORKERS) {
      await eventually(
        `no sandbox of ${worker.name} is left`,
        async () =>
          (await readdir(join(stack.dir, 'hosts', worker.name, 'sandboxes')).catch(() => [])).length === 0,
      );
    }
  });

  async function runningContainers(socketPath: string): Promise<{ jobId: string; host: string }[]> {
    const listed = await listContainers(socketPath, { label: ['flashpods-job=true'], status: ['running'] });
    return listed.map((container) => ({
      jobId: container.Labels['flashpods-job-id'] ?? '',
      host: container.Labels['flashpods-host'] ?? '',
    }));
  }

  async function allContainers(socketPath: string, ids: readonly string[]): Promise<number> {
    const listed = await listContainers(socketPath, { label: ['flashpods-job=true'] });
    return listed.filter((container) => ids.includes(container.Labels['flashpods-job-id'] ?? '')).length;
  }
});
