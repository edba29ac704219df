/**
 * A storm: jobs of mixed sizes and lengths over four workers, while every second or two one process of worker, API,
 * Redis and Podman service, chosen at random, is killed with SIGKILL. Afterwards the sums must be right, as in every
 * other case of the suite. `bench/storm.ts` runs it at full size, `storm.test.ts` at a size that fits into CI.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Database } from '../../../src/database/database.ts';
import { jobStores } from '../../../src/database/job-stores.ts';
import { messageOf } from '../../../src/errors.ts';
import type { Job } from '../../../src/jobs/job.ts';
import { LocalLogStore } from '../../../src/logs/local-log-store.ts';
import { texts } from '../../support/http.ts';
import { seeded } from '../../support/random.ts';
import { checkAftermath } from '../harness/aftermath.ts';
import type { LedgerJob, LedgerJobOptions } from '../harness/ledger.ts';
import { type FaultScene, startScene } from '../harness/scene.ts';
import { type Kind, type Outage, Upkeep } from './upkeep.ts';

export interface StormOptions {
  readonly jobs: number;
  readonly kills: number;
  readonly seed: number;
  /** Called now and then with one line. */
  readonly tell?: (line: string) => void;
}

export interface StormReport {
  readonly seconds: number;
  readonly kills: Readonly<Record<Kind, number>>;
  readonly outages: readonly Outage[];
  /** Jobs by their last state. */
  readonly states: Readonly<Record<string, number>>;
  /** Times that a worker took over what an earlier process had left, by what it did with it. */
  readonly takenOver: Readonly<Record<string, number>>;
  /** Dispatches that came to nothing and put the job back. */
  readonly requeued: number;
  /** Requests for a new job that were sent, and those of them that failed and were repeated. */
  readonly submissions: { readonly sent: number; readonly failed: number };
  /** By the ledger: the most cpus and memory that ran at one instant on each host. */
  readonly peaks: readonly Peak[];
  readonly mostAtOnce: number;
  /** Jobs whose container began more than once, or for which there are two rows. */
  readonly duplicates: number;
  /** Lines that were printed and are in no log, and lines that a log has twice or that nobody printed. */
  readonly lines: { readonly printed: number; readonly lost: number; readonly extra: number };
  /** One sentence for everything that must not be. */
  readonly violations: readonly string[];
}

export interface Peak {
  readonly host: string;
  readonly cpus: number;
  readonly ofCpus: number;
  readonly memoryGb: number;
  readonly ofMemoryGb: number;
}

const HOSTS = [
  { name: 'storm-a', cpus: 4, memoryGb: 8 },
  { name: 'storm-b', cpus: 3, memoryGb: 4 },
  { name: 'storm-c', cpus: 2, memoryGb: 6 },
  { name: 'storm-d', cpus: 4, memoryGb: 5 },
] as const;

/** Between two kills, ms. */
const GAP = { least: 1_000, most: 2_000 } as const;
const RESTART_WITHIN_MS = 1_000;
/** A client gives a request up after this time and repeats it. */
const PATIENCE_MS = 15_000;
const END_WITHIN_MS = 600_000;

export async function runStorm(options: StormOptions): Promise<StormReport> {
  const { jobs, kills, seed, tell = () => undefined } = options;
  const random = seeded(seed);
  const scene = await startScene({ hosts: HOSTS });
  const begun = performance.now();
  const upkeep = new Upkeep({
    stack: scene.stack,
    hosts: HOSTS,
    random: seeded(seed + 1),
    restartWithinMs: RESTART_WITHIN_MS,
  });
  const killed: Record<Kind, number> = { worker: 0, api: 0, redis: 0, podman: 0 };
  const lengthMs = (kills * (GAP.least + GAP.most)) / 2;
  const client = new Client(scene);
  try {
    const work = Array.from({ length: jobs }, () => drawJob(random, lengthMs / 1_000));
    const submitting = Promise.all(
      work.map(async ({ after, job }, index) => {
        await delay(after * 1_000);
        await client.submit(await scene.ledger.job({ ...job, exitCode: index % 7 }));
      }),
    );
    const killing = seeded(seed + 2);
    for (let done = 0; done < kills;) {
      await delay(GAP.least + (GAP.most - GAP.least) * killing());
      const kind = upkeep.kill();
      if (kind === null) continue;
      killed[kind] += 1;
      done += 1;
      if (done % 25 === 0) {
        const ended = scene.ledger.jobs.filter((job) => job.ended).length;
        tell(`${done} kills, ${client.accepted} jobs accepted, ${ended} have ended`);
      }
    }
    await upkeep.calm();
    tell('calm');
    await submitting;
    const violations: string[] = [];
    let mostAtOnce = 0;
    try {
      ({ mostAtOnce } = await checkAftermath(scene, { timeoutMs: END_WITHIN_MS }));
    } catch (error) {
      violations.push(messageOf(error));
    }
    const seconds = (performance.now() - begun) / 1_000;
    return {
      ...(await tally(scene, jobs, violations)),
      seconds,
      kills: killed,
      outages: upkeep.outages,
      submissions: client.submissions,
      mostAtOnce,
    };
  } finally {
    upkeep.stop();
    await scene.stop();
    await upkeep.ended();
  }
}

/** What one job of the storm is to be: more than half of the cpu time lies in the longest fifth of them. */
function drawJob(random: () => number, stormSeconds: number): { after: number; job: LedgerJobOptions } {
  const cpus = 1 + Math.floor(random() * 4);
  const memoryGb = 1 + Math.floor(random() * (cpus > 2 ? 5 : 4));
  const kind = random();
  const seconds =
    kind < 0.2
      ? 0
      : kind < 0.8
        ? random() * Math.min(12, stormSeconds / 4)
        : random() * Math.min(40, stormSeconds / 2);
  return {
    // They come all along the storm, some of them in crowds.
    after: random() < 0.3 ? 0 : random() * stormSeconds * 0.8,
    job: {
      cpus,
      memoryGb,
      lines: 10 + Math.floor(random() * 400),
      script: `sleep ${seconds.toFixed(2)}`,
    },
  };
}

/** A client as it should be: every request has its key, and is repeated until it is answered. */
class Client {
  accepted = 0;
  readonly submissions = { sent: 0, failed: 0 };
  readonly #scene: FaultScene;

  constructor(scene: FaultScene) {
    this.#scene = scene;
  }

  async submit(told: LedgerJob): Promise<void> {
    const body = JSON.stringify({ ...told.request, client_job_id: randomUUID() });
    for (;;) {
      this.submissions.sent += 1;
      const status = await this.#post(body);
      if (status === 200 || status === 201) break;
      if (status !== null && status < 500 && status !== 429)
        throw new Error(`refused with ${status}: ${body}`);
      this.submissions.failed += 1;
      await delay(250);
    }
    this.accepted += 1;
  }

  /** @returns the status; null when there was no answer */
  async #post(body: string): Promise<number | null> {
    const headers = { 'content-type': 'application/json' };
    const signal = AbortSignal.timeout(PATIENCE_MS);
    try {
      const answer = await this.#scene.stack.caller.fetch('/jobs', { method: 'POST', headers, body, signal });
      await answer.arrayBuffer();
      return answer.status;
    } catch {
      return null; // killed while it answered, or not there yet
    }
  }
}

type Tally = Omit<StormReport, 'seconds' | 'kills' | 'outages' | 'submissions' | 'mostAtOnce'>;

/** Counts everything anew from rows, event journal, logs and ledger; what must not be becomes a violation. */
async function tally(scene: FaultScene, submitted: number, found: readonly string[]): Promise<Tally> {
  const violations = [...found];
  const { jobs, requeued } = await readDatabase(scene.dir);
  if (jobs.length !== submitted)
    violations.push(`${submitted} jobs were submitted, ${jobs.length} are there`);
  const states: Record<string, number> = {};
  for (const { status } of jobs) states[status] = (states[status] ?? 0) + 1;
  const duplicates =
    scene.ledger.jobs.filter((job) => job.begun.length > 1).length + Math.max(0, jobs.length - submitted);
  if (duplicates > 0) violations.push(`${duplicates} jobs began more than once`);
  const lines = { printed: 0, lost: 0, extra: 0 };
  for (const told of scene.ledger.jobs) {
    const jobId = told.begun[0]?.jobId;
    if (jobId === undefined) {
      violations.push(`job ${told.slot} of the ledger never began`);
      continue;
    }
    const log =
      (await new LocalLogStore(join(scene.dir, 'logs')).readTail(jobId, 100_000))?.output.toString() ?? '';
    const shown = texts(log).filter((line) => line.startsWith('line '));
    const once = new Set(shown);
    lines.printed += told.lines;
    for (let line = 1; line <= told.lines; line += 1) if (!once.delete(`line ${line}`)) lines.lost += 1;
    lines.extra += once.size + shown.length - new Set(shown).size;
  }
  if (lines.lost + lines.extra > 0) violations.push(`${lines.lost} lines are lost, ${lines.extra} too many`);
  const peaks = HOSTS.map((host) => peakOf(scene, host, jobs));
  for (const { host, cpus, ofCpus, memoryGb, ofMemoryGb } of peaks)
    if (cpus > ofCpus || memoryGb > ofMemoryGb)
      violations.push(`${host} ran ${cpus} of ${ofCpus} cpus and ${memoryGb} of ${ofMemoryGb} GB`);
  return { states, takenOver: await takenOver(scene.dir), requeued, peaks, duplicates, lines, violations };
}

async function readDatabase(dir: string): Promise<{ jobs: Job[]; requeued: number }> {
  const database = await Database.open({ path: join(dir, 'flashpods.db') });
  try {
    const { queries, journal } = jobStores(database);
    const filter = { owner: null, states: null, type: null, label: null, beforePosition: null };
    const { jobs } = await queries.list({ ...filter, limit: 100_000 });
    const events = await journal.read({ limit: 1_000_000 });
    const requeued = events.filter(
      ({ type, payload }) =>
        type !== 'waiting' && payload['status'] === 'queued' && Number(payload['epoch']) > 0,
    ).length;
    return { jobs, requeued };
  } finally {
    await database.close();
  }
}

function peakOf(scene: FaultScene, host: (typeof HOSTS)[number], jobs: readonly Job[]): Peak {
  const here = new Set(
    jobs.filter((job) => job.host === host.name).map((job) => scene.ledger.of(job.id)?.slot),
  );
  let [cpus, memoryGb] = [0, 0];
  for (const { slots } of scene.ledger.instants) {
    const running = slots.flatMap((slot) => (here.has(slot) ? (scene.ledger.jobs[slot] ?? []) : []));
    cpus = Math.max(
      cpus,
      running.reduce((sum, job) => sum + job.cpus, 0),
    );
    memoryGb = Math.max(
      memoryGb,
      running.reduce((sum, job) => sum + job.memoryGb, 0),
    );
  }
  return { host: host.name, cpus, ofCpus: host.cpus, memoryGb, ofMemoryGb: host.memoryGb };
}

/** From the workers' own logs. */
async function takenOver(dir: string): Promise<Record<string, number>> {
  const actions: Record<string, number> = {};
  for (const { name } of HOSTS) {
    const log = await readFile(join(dir, `worker-${name}.out`), 'utf8');
    for (const [, action = ''] of log.matchAll(/"action":"(\w+)","msg":"taking over a job"/g))
      actions[action] = (actions[action] ?? 0) + 1;
  }
  return actions;
}
