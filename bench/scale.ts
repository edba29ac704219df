/**
 * What a long queue costs: starts, lists and places with 100,000 jobs waiting beside the same with none, in the same
 * run on the same machine; 1,000 submissions a second; Redis emptied under the long queue. Real processes, database,
 * Redis and containers; the rows of the long queue are copied inside the database.
 *
 *   node bench/scale.ts                  prints the figures, and PASS or FAIL for each aim
 *   node bench/scale.ts --check          and fails when one is missed
 *   node bench/scale.ts --queued 5000 --per-second 200 --seconds 5 --rounds 10     smaller
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { eventually } from '../test/support/eventually.ts';
import { Caller } from '../test/support/http.ts';
import { startStack, type Stack } from '../test/support/stack.ts';
import { lengthenQueue } from './scale/long-queue.ts';
import type { OpenLoopOptions, OpenLoopResult } from './scale/open-loop.ts';
import { percentile } from './measure.ts';

const { values: flags } = parseArgs({
  options: {
    queued: { type: 'string', default: '100000' },
    'per-second': { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '60' },
    check: { type: 'boolean', default: false },
  },
});
const QUEUED = Number(flags.queued);
const PER_SECOND = Number(flags['per-second']);
const SECONDS = Number(flags.seconds);
const ROUNDS = Number(flags.rounds);
const LOOKS = 100;
/** Whole-host jobs that run one after the other; a list shows 100 at most. */
const CHAIN = Math.min(100, Math.max(10, Math.floor(ROUNDS / 2)));

const HOST = { name: 'bench', cpus: 4, memoryGb: 8 };
const OPEN_LOOP = fileURLToPath(new URL('scale/open-loop.ts', import.meta.url));
/** A whole host: what waits while something else runs there, and runs one after the other when nothing does. */
const WHOLE = {
  type: 'worker',
  command: 'true',
  cpus: 4,
  memory_gb: 8,
  network: 'none',
  timeout_minutes: 10,
};
/** Fits beside the blocker, and has ended by the time that is promised to the first whole one. */
const SMALL = { cpus: 1, memory_gb: 1, timeout_minutes: 5 };

const out = (text: string): void => void process.stdout.write(`${text}\n`);
const p95 = (values: readonly number[]): number => percentile(values, 0.95);
const ms = (value: number): string => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
const line = (what: string, values: readonly number[]): void =>
  out(
    `  ${what.padEnd(50)} p50 ${ms(percentile(values, 0.5)).padStart(8)}   p95 ${ms(p95(values)).padStart(8)}   p99 ${ms(percentile(values, 0.99)).padStart(8)}`,
  );

const missed: string[] = [];
function aim(what: string, value: number, most: number, show: (value: number) => string): void {
  const good = value <= most;
  if (!good) missed.push(what);
  out(`  ${good ? 'PASS' : 'FAIL'}  ${what}: ${show(value)} (aim: at most ${show(most)})`);
}
const times = (value: number): string => `${value.toFixed(2)} ×`;

async function tokenOf(owner: string, stack: Stack): Promise<Caller> {
  const { status, body } = await stack.caller.json('POST', '/tokens', {
    name: owner,
    owner,
    scopes: ['jobs:read', 'jobs:write'],
  });
  if (status !== 201) throw new Error(`no token: ${JSON.stringify(body)}`);
  return new Caller(stack.caller.url, String(body['token']));
}

async function block(stack: Stack): Promise<string> {
  const id = await stack.caller.submit('sleep 100000', { cpus: 2, memory_gb: 2, timeout_minutes: 120 });
  await stack.caller.reached(id, ['running']);
  return id;
}

const between = (job: Record<string, unknown>, from: string, to: string): number =>
  Date.parse(String(job[to])) - Date.parse(String(job[from]));

/** Submits jobs that have room, one at a time: accepted → running, and accepted → dispatched, by the server's clock. */
async function timeStarts(caller: Caller): Promise<{ running: number[]; dispatched: number[] }> {
  const running: number[] = [];
  const dispatched: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const job = await caller.ended(await caller.submit('true', SMALL));
    running.push(between(job, 'created_at', 'started_at'));
    dispatched.push(between(job, 'created_at', 'starting_at'));
  }
  return { running, dispatched };
}

type Shown = Record<string, unknown>;
interface Page {
  readonly jobs: Shown[];
  readonly total: number;
}

const completedOf = async (crowd: Caller, limit: number): Promise<Page> =>
  (await crowd.json<{ jobs: Shown[]; total: number }>('GET', `/jobs?status=completed&limit=${limit}`)).body;

/** From the end of a job that had the whole host to the dispatch of the next, which waited for that. */
async function timeHead(crowd: Caller, stack: Stack, blocker: string): Promise<number[]> {
  const { total: done } = await completedOf(crowd, 1);
  await stack.caller.json('DELETE', `/jobs/${blocker}`);
  const { jobs } = await eventually(
    'the head of the queue has run',
    async () => {
      const page = await completedOf(crowd, CHAIN);
      return page.total >= done + CHAIN ? page : null;
    },
    { timeoutMs: 120_000, everyMs: 200 },
  );
  const at = (job: Shown | undefined, what: string): number => Date.parse(String(job?.[what]));
  const inOrder = jobs.sort((one, other) => at(one, 'starting_at') - at(other, 'starting_at'));
  return inOrder.slice(1).map((job, index) => at(job, 'starting_at') - at(inOrder[index], 'ended_at'));
}

/** Lets what runs end, and starts nothing more: no container is to be left when the worker goes. */
async function settle(stack: Stack): Promise<void> {
  await stack.caller.json('POST', `/hosts/${HOST.name}/drain`);
  const { body } = await stack.caller.json<Page>('GET', '/jobs?status=running&limit=100');
  for (const job of body.jobs) await stack.caller.json('DELETE', `/jobs/${String(job['id'])}`);
  await eventually(
    'nothing runs any more',
    async () => (await stack.queues.queue.capacity()).hosts.every(({ runningJobs }) => runningJobs === 0),
    { timeoutMs: 60_000 },
  );
}

async function timeLooks(caller: Caller, path: () => string): Promise<number[]> {
  const taken: number[] = [];
  for (let look = 0; look < LOOKS; look += 1) {
    const begun = performance.now();
    const answer = await caller.fetch(path());
    await answer.arrayBuffer();
    taken.push(performance.now() - begun);
    if (answer.status !== 200) throw new Error(`${path()} answered ${answer.status}`);
  }
  return taken;
}

/** Looks every 100 ms until `work` is done, answered or not; an answer counts from when it was due. */
async function whileLooking(caller: Caller, path: string, work: () => Promise<unknown>): Promise<number[]> {
  const taken: number[] = [];
  const looks: Promise<void>[] = [];
  const timer = setInterval(() => {
    const due = performance.now();
    looks.push(
      caller
        .fetch(path)
        .then((answer) => answer.arrayBuffer())
        .then(
          () => void taken.push(performance.now() - due),
          () => void taken.push(Infinity),
        ),
    );
  }, 100);
  try {
    await work();
  } finally {
    clearInterval(timer);
    await Promise.all(looks);
  }
  return taken;
}

async function sendOpenLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const child = spawn(process.execPath, [OPEN_LOOP, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`the open loop ended with ${String(code)}`);
  return JSON.parse(text) as OpenLoopResult;
}

const memoryOf = async (stack: Stack): Promise<number> =>
  Number(/^used_memory:(\d+)/m.exec(await stack.queues.connection.info('memory'))?.[1]);

const lengthOf = async (stack: Stack): Promise<number> => (await stack.queues.queue.capacity()).queue.length;

async function measureLooks(crowd: Caller, stack: Stack): Promise<{ list: number[]; place: number[] }> {
  const { body } = await crowd.json<{ jobs: { id: string }[] }>('GET', '/jobs?status=queued&limit=100');
  const ids = body.jobs.map(({ id }) => id);
  const list = await timeLooks(crowd, () => '/jobs?status=active');
  line('GET /jobs?status=active, an owner’s', list);
  const all = await timeLooks(stack.caller, () => '/jobs?limit=100');
  line('GET /jobs?limit=100, everybody’s', all);
  const place =
    ids.length === 0
      ? []
      : await timeLooks(crowd, () => `/jobs/${ids[Math.floor(Math.random() * ids.length)]}`);
  if (place.length > 0) line('GET /jobs/ID of the last in the queue: its place', place);
  line('GET /capacity', await timeLooks(stack.caller, () => '/capacity'));
  line('GET /health', await timeLooks(stack.caller, () => '/health'));
  return { list: [...list, ...all], place };
}

async function flood(
  crowd: Caller,
  stack: Stack,
): Promise<OpenLoopResult & { health: number[]; list: number[] }> {
  const options = { url: crowd.url, token: crowd.token, request: WHOLE };
  await sendOpenLoop({ ...options, perSecond: Math.ceil(PER_SECOND / 5), seconds: 3 });
  let result: OpenLoopResult | undefined;
  let list: number[] = [];
  const health = await whileLooking(stack.caller, '/health', async () => {
    list = await whileLooking(crowd, '/jobs?status=active', async () => {
      result = await sendOpenLoop({ ...options, perSecond: PER_SECOND, seconds: SECONDS });
    });
  });
  if (!result) throw new Error('the open loop has no result');
  return { ...result, health, list };
}

/** Empties Redis under the long queue, and waits until it is whole and a job starts again. */
async function restore(
  stack: Stack,
  probe: Caller,
  length: number,
): Promise<{ seconds: number; health: number[]; list: number[] }> {
  const begun = performance.now();
  let list: number[] = [];
  const health = await whileLooking(stack.caller, '/health', async () => {
    list = await whileLooking(stack.caller, '/jobs', async () => {
      await stack.queues.connection.flushall();
      await eventually('all are in the queue again', async () => (await lengthOf(stack)) >= length, {
        timeoutMs: 180_000,
        everyMs: 200,
      });
      await probe.ended(await probe.submit('true', SMALL), 60_000);
    });
  });
  return { seconds: (performance.now() - begun) / 1_000, health, list };
}

async function measure(): Promise<void> {
  out(
    `${availableParallelism()} cpus; ${QUEUED} jobs queued, ${PER_SECOND} submissions a second for ${SECONDS} s, ${ROUNDS} rounds`,
  );
  const stack = await startStack({ workers: [HOST], env: { FLASHPODS_RECONCILE_SECONDS: '15' } });
  try {
    const [crowd, probe] = [await tokenOf('crowd', stack), await tokenOf('probe', stack)];
    let blocker = await block(stack);
    await probe.ended(await probe.submit('true', SMALL)); // the first of everything is slower

    out('\nwith an empty queue');
    const before = await timeStarts(probe);
    line('accepted → running, a job that has room', before.running);
    line('accepted → dispatched', before.dispatched);
    await measureLooks(crowd, stack);
    for (let index = 0; index <= Math.max(10, ROUNDS / 2); index += 1)
      await crowd.json('POST', '/jobs', WHOLE);
    const headBefore = await timeHead(crowd, stack, blocker);
    line('end of a job → dispatch of the head of the queue', headBefore);
    await eventually('the queue is empty', async () => (await lengthOf(stack)) === 0, { timeoutMs: 60_000 });
    blocker = await block(stack);
    const memoryBefore = await memoryOf(stack);

    out(`\n${PER_SECOND} submissions a second for ${SECONDS} s, each timed from when it was due`);
    const result = await flood(crowd, stack);
    const accepted = result.statuses['201'] ?? 0;
    line('POST /jobs', result.latenciesMs);
    line('GET /health meanwhile', result.health);
    line('GET /jobs?status=active meanwhile', result.list);
    out(
      `  answers by status: ${JSON.stringify(result.statuses)}; the client took ${(result.cpu * 100).toFixed(0)} % of a core`,
    );
    // What was answered 201 is there, even after the process is killed.
    await stack.api.end('SIGKILL');
    await stack.startApi();
    const crowdAgain = new Caller(stack.caller.url, crowd.token);
    const probeAgain = new Caller(stack.caller.url, probe.token);
    const kept = (await crowdAgain.json<Page>('GET', '/jobs?status=active&limit=1')).body.total;
    out(`  rows after kill -9 of the API: ${kept}`);

    const { body } = await crowdAgain.json('POST', '/jobs', WHOLE);
    const have = await lengthOf(stack);
    await lengthenQueue(
      join(stack.dir, 'flashpods.db'),
      stack.queues,
      String(body['job_id']),
      Math.max(0, QUEUED - have),
    );
    const length = await lengthOf(stack);
    const perJob = ((await memoryOf(stack)) - memoryBefore) / length;
    await delay(2_000);

    out(`\nwith ${length} jobs queued`);
    const after = await timeStarts(probeAgain);
    line('accepted → running, a job that has room', after.running);
    line('accepted → dispatched', after.dispatched);
    const looks = await measureLooks(crowdAgain, stack);
    out(`  Redis: ${perJob.toFixed(0)} bytes a job`);

    out('\nRedis emptied under that queue');
    const restored = await restore(stack, probeAgain, length);
    out(`  whole again, and a job has run, after ${restored.seconds.toFixed(0)} s`);
    line('GET /health meanwhile', restored.health);
    line('GET /jobs meanwhile', restored.list);

    out('\nwith the long queue, and room for a whole one at a time');
    const headAfter = await timeHead(crowdAgain, stack, blocker);
    line('end of a job → dispatch of the head of the queue', headAfter);

    out('\naims');
    const ratio = (a: number[], b: number[]): number => percentile(a, 0.5) / percentile(b, 0.5);
    aim('a start with a long queue, to one without', ratio(after.running, before.running), 1.1, times);
    aim(
      'a start of the head of a long queue, to that of a short one',
      ratio(headAfter, headBefore),
      1.1,
      times,
    );
    aim('lists, p95', p95(looks.list), 50, ms);
    aim('place in the queue, p95', p95(looks.place), 50, ms);
    aim('Redis a job', perJob, 2_048, (value) => `${value.toFixed(0)} bytes`);
    aim('submissions not accepted', result.sent - accepted, 0, String);
    aim('submissions accepted and lost', Math.max(0, accepted - kept), 0, String);
    aim('submission, p99', percentile(result.latenciesMs, 0.99), 250, ms);
    aim('health during submissions, p95', p95(result.health), 250, ms);
    aim('health while Redis is restored, p95', p95(restored.health), 250, ms);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    missed.push('the whole run');
    process.exitCode = 1;
  } finally {
    await settle(stack).finally(() => stack.stop());
  }
}

await measure();
if (missed.length > 0 && flags.check) {
  process.stderr.write(`missed: ${missed.join('; ')}\n`);
  process.exitCode = 1;
}
