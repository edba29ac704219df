/**
 * What backfill with a promise does to large and small jobs, beside strict first in first out and beside greedy (start
 * anything that fits). Simulated time; the choice is the product's own `choose`.
 *
 *   node bench/fairness.ts            prints the figures, and PASS or FAIL for each aim
 *   node bench/fairness.ts --check    and fails when one is missed
 *
 * The load: jobs come at random (exponential gaps), at a rate that asks for 92 % of the cpus; 3 % of the jobs
 * want a whole host, the others 1, 2 or 4 of its 8 cpus. Run times are exponential with a mean of three
 * minutes. The timeout that a caller gives is 1 to 5 times the true run time, and all that a policy knows of
 * it.
 */
import type { OpenHost } from '../queues/host-room.ts';
import { type Amount, fits, subtract } from '../src/jobs/amount.ts';
import { seeded } from '../test/support/random.ts';
import { fairPolicy, type Policy, simulate, type SimulatedJob } from '../test/support/simulated-farm.ts';
import { percentile } from './measure.ts';

const SEEDS = 10;
const JOBS = 4_000;
const LOAD = 0.92;
const WHOLE_HOST = 0.03;
const MEAN_MS = 3 * 60_000;
/** The largest that a job may ask for. */
const HOST: Amount = { cpusMilli: 8_000, memoryMib: 16_384 };
const SMALL_CPUS = [1, 2, 4];
/** The default of the setting `passingSeconds`. */
const PATIENCE_MS = 60 * 60_000;

const hasRoom = (host: OpenHost, wanted: Amount): boolean =>
  fits(host.running.reduce<Amount>(subtract, host.capacity), wanted);

/** In order; `stopAtFirst` ends at the first one that does not fit. */
const inOrder =
  (stopAtFirst: boolean): Policy =>
  (_now, waiting, hosts) => {
    const open = hosts.map((host) => ({ ...host, running: [...host.running] }));
    const starts = [];
    for (const job of waiting) {
      const host = open.find((one) => hasRoom(one, job));
      if (!host && stopAtFirst) break;
      if (!host) continue;
      host.running.push({ ...job, endsBy: null });
      starts.push({ jobId: job.jobId, host: host.name });
    }
    return starts;
  };

const POLICIES: Readonly<Record<string, () => Policy>> = {
  'EASY backfill (ours)': () => fairPolicy({ patienceMs: PATIENCE_MS }),
  'strict FIFO': () => inOrder(true),
  greedy: () => inOrder(false),
};
const OURS = 'EASY backfill (ours)';

function workload(seed: number, hosts: number): SimulatedJob[] {
  const random = seeded(seed);
  const exponential = (mean: number): number => -mean * Math.log(1 - random());
  const smallCpus = SMALL_CPUS.reduce((sum, cpus) => sum + cpus, 0) / SMALL_CPUS.length;
  const wholeCpus = HOST.cpusMilli / 1_000;
  const meanCpus = WHOLE_HOST * wholeCpus + (1 - WHOLE_HOST) * smallCpus;
  const gapMs = (meanCpus * MEAN_MS) / (LOAD * wholeCpus * hosts);
  let now = 0;
  return Array.from({ length: JOBS }, (_, index) => {
    now += exponential(gapMs);
    const whole = random() < WHOLE_HOST;
    const cpus = whole ? wholeCpus : (SMALL_CPUS[Math.floor(random() * SMALL_CPUS.length)] ?? 1);
    const trueMs = Math.max(1_000, exponential(MEAN_MS));
    return {
      jobId: `${index}`,
      owner: 'one',
      image: '',
      key: now,
      position: index,
      since: now,
      cpusMilli: cpus * 1_000,
      memoryMib: whole ? HOST.memoryMib : cpus * 2_048,
      trueMs,
      runMs: trueMs * (1 + 4 * random()),
    };
  });
}

const median = (values: readonly number[]): number => percentile(values, 0.5);

interface Waits {
  /** The longest wait of a job that wants a whole host, ms. */
  readonly largeWorst: number;
  readonly smallMedian: number;
  readonly smallMean: number;
}

function waitsUnder(policy: Policy, jobs: readonly SimulatedJob[], hosts: number): Waits {
  const ran = simulate({ capacities: Array.from({ length: hosts }, () => HOST), jobs, policy });
  if (ran.length !== jobs.length) throw new Error(`${jobs.length - ran.length} jobs never started`);
  const waitsOf = (large: boolean): number[] =>
    ran
      .filter(({ job }) => (job.cpusMilli === HOST.cpusMilli) === large)
      .map(({ job, startedAt }) => startedAt - job.since);
  const small = waitsOf(false);
  return {
    largeWorst: Math.max(...waitsOf(true)),
    smallMedian: median(small),
    smallMean: small.reduce((sum, wait) => sum + wait, 0) / small.length,
  };
}

const minutes = (value: number): string => (value / 60_000).toFixed(1).padStart(8);
const failed: string[] = [];

function judge(
  hosts: number,
  aims: { largeTimes: number; smallTimes: number; smallAtLeastMs: number },
): void {
  const results = new Map(Object.keys(POLICIES).map((name) => [name, [] as Waits[]]));
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const jobs = workload(seed, hosts);
    for (const [name, policy] of Object.entries(POLICIES))
      results.get(name)?.push(waitsUnder(policy(), jobs, hosts));
  }
  const of = (name: string): Waits[] => results.get(name) ?? [];
  const greedy = of('greedy');
  process.stdout.write(
    `\n${hosts} ${hosts === 1 ? 'host' : 'hosts'}, minutes waited, median of ${SEEDS} seeds of ${JOBS} jobs\n` +
      '                           large, worst   × greedy   small, median   × greedy   small, mean\n',
  );
  const summary = (name: string) => {
    const waits = of(name);
    return {
      largeWorst: median(waits.map((one) => one.largeWorst)),
      largeTimes: median(waits.map((one, seed) => one.largeWorst / (greedy[seed]?.largeWorst ?? 0))),
      smallMedian: median(waits.map((one) => one.smallMedian)),
      smallTimes: median(waits.map((one, seed) => one.smallMedian / (greedy[seed]?.smallMedian ?? 0))),
      smallMean: median(waits.map((one) => one.smallMean)),
    };
  };
  for (const name of results.keys()) {
    const row = summary(name);
    process.stdout.write(
      `  ${name.padEnd(24)} ${minutes(row.largeWorst)}      ${row.largeTimes.toFixed(2).padStart(8)}  ${minutes(row.smallMedian)}        ${row.smallTimes.toFixed(2).padStart(8)}   ${minutes(row.smallMean)}\n`,
    );
  }
  const ours = summary(OURS);
  verdict(
    `large jobs' worst wait at most ${aims.largeTimes} × greedy's`,
    ours.largeTimes <= aims.largeTimes,
    `${ours.largeTimes.toFixed(2)} ×`,
  );
  const allowed = Math.max(
    aims.smallTimes * median(greedy.map((one) => one.smallMedian)),
    aims.smallAtLeastMs,
  );
  verdict(
    `small jobs' median at most ${aims.smallTimes} × greedy's${aims.smallAtLeastMs > 0 ? ', or 5 % of the mean run time' : ''}: ${(allowed / 60_000).toFixed(2)} min`,
    ours.smallMedian <= allowed,
    `${(ours.smallMedian / 60_000).toFixed(2)} min`,
  );
}

function verdict(aim: string, reached: boolean, figure: string): void {
  if (!reached) failed.push(aim);
  process.stdout.write(`  ${reached ? 'PASS' : 'FAIL'}  ${aim}: ${figure}\n`);
}

judge(1, { largeTimes: 0.4, smallTimes: 1.5, smallAtLeastMs: 0 });
judge(4, { largeTimes: 0.8, smallTimes: 1.5, smallAtLeastMs: 0.05 * MEAN_MS });
if (process.argv.includes('--check') && failed.length > 0) process.exitCode = 1;
