import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { texts } from '../support/http.ts';
import { listContainers } from '../support/podman-ps.ts';
import { type Stack, startStack } from '../support/stack.ts';

const HOST = { name: 'recovery', cpus: 8, memoryGb: 8 };
const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `line ${index + 1}`);

interface Found {
  readonly output: string;
  readonly next_line: number | null;
}

const spoolsOf = async (directory: string): Promise<string[]> => {
  const root = join(directory, 'hosts', HOST.name, 'sandboxes');
  const paths = (await readdir(root)).map((id) => join(root, id, 'spool.log'));
  return paths.filter((path) => existsSync(path));
};

/** Processes killed with SIGKILL while jobs run, as the promise of the product has it. */
describe('after kill -9', () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({ workers: [HOST], env: { FLASHPODS_SPOOL_MAX_MB: '64' } });
  });
  after(async () => {
    await stack.stop();
  });

  const counting = (count: number, exitCode: number): Promise<string> =>
    stack.caller.submit(
      `for i in $(seq 1 ${count}); do echo line $i; sleep 0.05; done; echo done > /artifacts/done; exit ${exitCode}`,
    );
  const printed = async (id: string): Promise<number> => texts(await stack.caller.output(id)).length;

  it('of the worker, its jobs are adopted and end with their true exit codes, and the log has every line once', async () => {
    const ids = await Promise.all([0, 3, 42].map((code) => counting(60, code)));
    for (const id of ids) await eventually(`${id} prints`, async () => (await printed(id)) > 3);
    await stack.worker(HOST.name).end('SIGKILL');
    await stack.startWorker(HOST);
    const jobs = await Promise.all(ids.map((id) => stack.caller.ended(id)));
    assert.deepEqual(
      jobs.map((job) => job.exit_code),
      [0, 3, 42],
    );
    for (const id of ids) assert.deepEqual(texts(await stack.caller.output(id)), numbered(60));
  });

  it('of the worker, a job that ended meanwhile is settled with exit code, log and artifacts', async () => {
    const id = await counting(20, 5);
    await eventually('it prints', async () => (await printed(id)) > 3);
    await stack.worker(HOST.name).end('SIGKILL');
    const reservations = (await stack.queues.semaphore.view()).reservations;
    assert.ok(
      reservations.some((held) => held.jobId === id),
      'the reservation outlives its worker',
    );
    // The container goes on without us: wait for its end by what it leaves, then let the successor look.
    await eventually('the container has ended', async () => !(await containerRuns(id)));
    await stack.startWorker(HOST);
    const job = await stack.caller.ended(id);
    assert.equal(job.exit_code, 5);
    assert.deepEqual(texts(await stack.caller.output(id)), numbered(20));
    const { body } = await stack.caller.json<{ artifacts: { name: string }[] }>(
      'GET',
      `/jobs/${id}/artifacts`,
    );
    assert.deepEqual(
      body.artifacts.map((artifact) => artifact.name),
      ['done'],
    );
  });

  it('of the worker, a job that prints on and on goes on, its spool is bounded, and the log says what is missing', async () => {
    const id = await stack.caller.submit(
      'echo begin; until [ -e /tmp/on ]; do sleep 0.1; [ $((n += 1)) -gt 20 ] && touch /tmp/on; done; seq 1 4000000; echo end; exit 6',
    );
    await eventually('it prints', async () => (await printed(id)) > 0);
    await stack.worker(HOST.name).end('SIGKILL');
    await eventually('the container has ended', async () => !(await containerRuns(id)), {
      timeoutMs: 60_000,
    });
    // 4 million lines are 215 MB of spool.
    await eventually('the spool takes no more than it may', async () => {
      const taken = (await spoolsOf(stack.dir)).map((path) => statSync(path).blocks * 512);
      return taken.length > 0 && taken.every((bytes) => bytes <= 64 * 2 ** 20);
    });
    await stack.startWorker(HOST);
    assert.equal((await stack.caller.ended(id)).exit_code, 6);
    const raw = Buffer.from(
      await (await stack.caller.fetch(`/jobs/${id}/output?format=raw`)).arrayBuffer(),
    ).toString();
    let said = '';
    for (let line: number | null = 1; line !== null && said === '';) {
      const search: string = `/jobs/${id}/output?grep=TRUNCATED&from_line=${line}`;
      const answer = await stack.caller.json<Found>('GET', search);
      [said, line] = [answer.body.output, answer.body.next_line];
    }
    const [, lines, bytes] = /(\d+) lines, (\d+) bytes left out here/.exec(said) ?? [];
    assert.ok(raw.startsWith('begin\n1\n2\n') && raw.endsWith('4000000\nend\n'));
    assert.equal(raw.split('\n').length - 1 + Number(lines), 4_000_002);
    assert.equal(raw.length + Number(bytes), 30_888_896 + 10);
  });

  it('of the worker again and again at arbitrary moments, every job still runs exactly once', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, (_, index) => counting(30, index)));
    for (let kill = 0; kill < 4; kill += 1) {
      await eventually('something has happened', async () => {
        const total = (await Promise.all(ids.map((id) => printed(id).catch(() => 0)))).reduce(
          (sum, count) => sum + count,
          0,
        );
        return total > kill * 25;
      });
      await stack.worker(HOST.name).end('SIGKILL');
      await stack.startWorker(HOST);
    }
    for (const [index, id] of ids.entries()) {
      const job = await stack.caller.ended(id);
      assert.equal(job.exit_code, index, JSON.stringify(job));
      assert.deepEqual(texts(await stack.caller.output(id)), numbered(30));
    }
  });

  it('of the API, running jobs go on and are told of by the next API, and a creation repeated with its key makes no second job', async () => {
    const id = await counting(30, 9);
    const request = {
      type: 'worker',
      command: 'echo once',
      network: 'none',
      cpus: 1,
      memory_gb: 1,
      client_job_id: crypto.randomUUID(),
    };
    const first = await stack.caller.json('POST', '/jobs', request);
    assert.equal(first.status, 201);
    await stack.api.end('SIGKILL');
    await stack.startApi();
    const again = await stack.caller.json('POST', '/jobs', request);
    assert.deepEqual(
      [again.status, again.body['job_id'], again.body['created']],
      [200, first.body['job_id'], false],
    );
    assert.equal((await stack.caller.ended(id)).exit_code, 9);
    assert.deepEqual(texts(await stack.caller.output(id)), numbered(30));
    assert.equal((await stack.caller.ended(String(first.body['job_id']))).status, 'completed');
  });

  it('of the Podman service, running jobs end as if nothing had happened', async () => {
    const id = await counting(30, 4);
    await eventually('it prints', async () => (await printed(id)) > 3);
    const { pid } = stack.podman;
    assert.ok(pid !== null);
    process.kill(pid, 'SIGKILL');
    const job = await stack.caller.ended(id);
    assert.equal(job.exit_code, 4);
    assert.deepEqual(texts(await stack.caller.output(id)), numbered(30));
  });

  it('SIGTERM makes the worker leave at once while its jobs go on', async () => {
    const id = await counting(60, 6);
    await eventually('it prints', async () => (await printed(id)) > 3);
    const { code } = await stack.worker(HOST.name).end('SIGTERM');
    assert.equal(code, 0);
    assert.ok(await containerRuns(id), 'the container survives its worker');
    await stack.startWorker(HOST);
    assert.equal((await stack.caller.ended(id)).exit_code, 6);
    assert.deepEqual(texts(await stack.caller.output(id)), numbered(60));
  });

  it('everything ends with nothing reserved', async () => {
    await eventually(
      'nothing is reserved',
      async () => (await stack.queues.semaphore.view()).reservations.length === 0,
    );
    assert.deepEqual(await stack.queues.semaphore.audit(), []);
  });

  async function containerRuns(id: string): Promise<boolean> {
    const filters = { label: [`flashpods-job-id=${id}`], status: ['running'] };
    return (await listContainers(stack.podman.socketPath, filters)).length > 0;
  }
});
