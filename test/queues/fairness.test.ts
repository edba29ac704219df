/** What the choice of job and host adds up to over time, in simulated farms. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { choose, heldOn, type Promised, UNLIMITED } from '../../queues/choose.ts';
import { keyOf } from '../../queues/waiting/waiting-index.ts';
import { seeded } from '../support/random.ts';
import { fairPolicy, type Policy, type Ran, simulate, type SimulatedJob } from '../support/simulated-farm.ts';

const AGEING_MS = 10_000;
/** Failures are the same every time. */
const SEED = 20_261_121;

const size = (cpus: number, memory = cpus) => ({ cpusMilli: cpus * 1_000, memoryMib: memory * 1_024 });
let position = 0;
function job(
  jobId: string,
  owner: string,
  cpus: number,
  rest: { at?: number; trueMs?: number; times?: number; priority?: number; memory?: number } = {},
): SimulatedJob {
  const { at = 0, trueMs = 1_000, times = 1, priority = 5, memory = cpus } = rest;
  position += 1;
  return {
    jobId,
    owner,
    image: '',
    key: keyOf({ orderedAt: at, priority }, AGEING_MS),
    position,
    since: at,
    ...size(cpus, memory),
    trueMs,
    runMs: trueMs * times,
  };
}
const startOf = (ran: readonly Ran[], jobId: string): number =>
  ran.find((one) => one.job.jobId === jobId)?.startedAt ?? Infinity;

const amounts = fc.record({ cpus: fc.integer({ min: 1, max: 8 }), memory: fc.integer({ min: 1, max: 8 }) });
const capacities = fc.array(
  amounts.map(({ cpus, memory }) => size(cpus, memory)),
  { minLength: 1, maxLength: 3 },
);
const workload = (owners: readonly string[]) =>
  fc
    .array(
      fc.record({
        owner: fc.constantFrom(...owners),
        amount: amounts,
        at: fc.integer({ min: 0, max: 30_000 }),
        trueMs: fc.integer({ min: 1, max: 5_000 }),
        times: fc.integer({ min: 1, max: 5 }),
      }),
      { maxLength: 40 },
    )
    .map((list) =>
      list.map(({ owner, amount, ...rest }, index) =>
        job(`j${index}`, owner, amount.cpus, { ...rest, memory: amount.memory }),
      ),
    );

describe('scheduling over time', () => {
  it('runs everything that fits some host, and no host is ever over its capacity', () => {
    fc.assert(
      fc.property(workload(['a', 'b', 'c']), capacities, (jobs, hosts) => {
        const ran = simulate({ capacities: hosts, jobs, policy: fairPolicy() }); // throws over capacity
        const able = jobs.filter((one) =>
          hosts.some((host) => one.cpusMilli <= host.cpusMilli && one.memoryMib <= host.memoryMib),
        );
        assert.equal(ran.length, able.length);
      }),
      { numRuns: 200, seed: SEED },
    );
  });

  it('keeps every owner within its limits at every moment', () => {
    const limits = fc.record({
      maxJobs: fc.integer({ min: 1, max: 4 }),
      maxCpusMilli: fc.integer({ min: 1, max: 8 }).map((cpus) => cpus * 1_000),
      maxMemoryMib: fc.integer({ min: 1, max: 8 }).map((gb) => gb * 1_024),
    });
    fc.assert(
      fc.property(workload(['a', 'b']), capacities, limits, limits, (jobs, hosts, ofA, ofB) => {
        const terms = (owner: string) => ({ ...UNLIMITED, ...(owner === 'a' ? ofA : ofB) });
        simulate({
          capacities: hosts,
          jobs,
          policy: fairPolicy({ terms }),
          watch: (_now, _waiting, open) => {
            for (const [owner, held] of heldOn(open)) {
              const { maxJobs, maxCpusMilli, maxMemoryMib } = terms(owner);
              assert.ok(held.jobs <= maxJobs);
              assert.ok(held.cpusMilli <= maxCpusMilli && held.memoryMib <= maxMemoryMib);
            }
          },
        });
      }),
      { numRuns: 200, seed: SEED },
    );
  });

  it('starts a job by the time that it was promised, no matter what starts before it', () => {
    fc.assert(
      fc.property(workload(['a']), capacities, (jobs, hosts) => {
        const promises: Promised[] = [];
        const policy: Policy = (now, waiting, open) => {
          const choice = choose(now, waiting, open, { patienceMs: 0 });
          if (choice.promised) promises.push(choice.promised);
          return choice.starts;
        };
        const ran = simulate({ capacities: hosts, jobs, policy });
        for (const { jobId, at, firm } of promises) {
          assert.ok(firm && at !== null);
          assert.ok(startOf(ran, jobId) <= at);
        }
      }),
      { numRuns: 300, seed: SEED },
    );
  });

  it('keeps a promise that is not firm against all other owners', () => {
    fc.assert(
      fc.property(workload(['a', 'b']), capacities, (jobs, hosts) => {
        // One job of its own owner, which comes once there are others: nothing but they could delay it.
        const single = job('single', 'single', 1, { at: 10_000, memory: 1 });
        const largest = hosts.reduce((a, b) => (b.cpusMilli > a.cpusMilli ? b : a));
        const large = { ...single, ...largest };
        let promised: number | null = null;
        const policy: Policy = (now, waiting, open) => {
          const choice = choose(now, waiting, open);
          if (choice.promised?.jobId === 'single') promised ??= choice.promised.at;
          return choice.starts;
        };
        const ran = simulate({ capacities: hosts, jobs: [...jobs, large], policy });
        assert.ok(startOf(ran, 'single') <= (promised ?? 10_000));
      }),
      { numRuns: 300, seed: SEED },
    );
  });

  it('leaves no room idle that a job could use, when all jobs are alike', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        capacities,
        (arrivals, cpus, hosts) => {
          const jobs = arrivals.map((at, index) => job(`j${index}`, index % 2 ? 'a' : 'b', cpus, { at }));
          simulate({
            capacities: hosts,
            jobs,
            policy: fairPolicy(),
            watch: (_now, waiting, open) => {
              if (waiting.length === 0) return;
              for (const { capacity, running } of open) {
                const used = running.length * cpus;
                const left = Math.min(capacity.cpusMilli / 1_000, capacity.memoryMib / 1_024) - used;
                assert.ok(left < cpus);
              }
            },
          });
        },
      ),
      { numRuns: 100, seed: SEED },
    );
  });

  it('starts equals in the order in which they came', () => {
    fc.assert(
      fc.property(workload(['a']), capacities, (jobs, hosts) => {
        const alike = jobs.map((one) => ({ ...one, trueMs: 1_000, runMs: 3_000 }));
        const ran = simulate({ capacities: hosts, jobs: alike, policy: fairPolicy() });
        const groups = Map.groupBy(ran, ({ job: one }) => `${one.cpusMilli} ${one.memoryMib}`);
        for (const group of groups.values()) {
          const came = [...group].sort(
            (a, b) => a.job.since - b.job.since || a.job.position - b.job.position,
          );
          const begun = came.map((one) => one.startedAt);
          assert.deepEqual(
            begun,
            begun.toSorted((a, b) => a - b),
          );
        }
      }),
      { numRuns: 200, seed: SEED },
    );
  });

  /** Small jobs that come faster than they can be run, and one that wants the whole host. */
  const stream = (owner: string, everyMs: number, rest: Parameters<typeof job>[3] = {}): SimulatedJob[] =>
    Array.from({ length: Math.floor(200_000 / everyMs) }, (_, index) =>
      job(`${owner}${index}`, owner, 1, { at: index * everyMs, trueMs: 900, times: 4, ...rest }),
    );
  it('starts a large job amid an endless stream of its owner’s small ones', () => {
    const jobs = [...stream('a', 300), job('large', 'a', 4, { at: 5_000 })];
    const hosts = [size(4)];
    const starts = (policy: Policy): number =>
      startOf(simulate({ capacities: hosts, jobs, policy, until: 190_000 }), 'large');
    // What its room stands idle is worth that wait, and in any case the patience.
    assert.ok(starts(fairPolicy()) <= 60_000);
    assert.ok(starts(fairPolicy({ patienceMs: 30_000 })) <= 5_000 + 30_000 + 4 * 900);
  });

  it('starts a large job amid its owner’s small ones though others, who hold less, come all the time', () => {
    // The owner's own stream would keep its share above theirs for ever.
    const others = ['b', 'c', 'd', 'e', 'f', 'g'].flatMap((owner) =>
      stream(owner, 2_000, { trueMs: 1_500, times: 1 }),
    );
    const jobs = [...stream('a', 300), ...others, job('large', 'a', 8, { at: 5_000 })];
    const ran = simulate({
      capacities: [size(8)],
      jobs,
      policy: fairPolicy({ patienceMs: 20_000 }),
      until: 190_000,
    });
    assert.ok(startOf(ran, 'large') <= 5_000 + 20_000 + 10_000, `${startOf(ran, 'large')}`);
  });

  it('starts a job of the lowest priority amid an endless stream of the highest', () => {
    const urgent = stream('a', 200, { priority: 1 });
    const ran = simulate({
      capacities: [size(4)],
      jobs: [...urgent, job('low', 'a', 1, { priority: 10, at: 1_000 })],
      policy: fairPolicy(),
      until: 190_000,
    });
    const late = startOf(ran, 'low') - 1_000;
    // The queue grows by a tenth of what comes, so those that came before `low` has aged are done a tenth later.
    assert.ok(late > 8 * AGEING_MS && late < 9 * AGEING_MS * 1.25, `${late}`);
  });

  it('lets 10,000 waiting jobs of one owner delay another’s single job by one of them at most', () => {
    const random = seeded(SEED);
    const flood = Array.from({ length: 10_000 }, (_, index) => {
      const trueMs = 500 + Math.floor(random() * 1_500);
      return job(`a${index}`, 'a', 1 + Math.floor(random() * 4), { trueMs, times: 3, priority: 1 });
    });
    for (const hosts of [1, 3]) {
      for (const cpus of [1, 4, 8]) {
        const single = job('single', 'b', cpus, { at: 7_000, priority: 10 });
        const ran = simulate({
          capacities: Array.from({ length: hosts }, () => size(8)),
          jobs: [...flood, single],
          policy: fairPolicy(),
          until: 30_000,
        });
        const waited = startOf(ran, 'single') - 7_000;
        // A small one takes the first room that comes up. A large one can start when the limits of the others say so.
        const most = cpus === 1 ? 2_000 : 2_000 * 3;
        assert.ok(waited <= most, `${cpus} cpus on ${hosts} hosts waited ${waited}`);
      }
    }
  });

  it('gives two owners that want all there is what their weights say', () => {
    const jobs = ['a', 'b'].flatMap((owner) =>
      Array.from({ length: 400 }, (_, index) =>
        job(`${owner}${index}`, owner, 1, { trueMs: 1_000 + (index % 7) * 90 }),
      ),
    );
    const terms = (owner: string) => ({ ...UNLIMITED, weight: owner === 'a' ? 3 : 1 });
    const held: number[] = [];
    simulate({
      capacities: [size(8), size(8)],
      jobs,
      policy: fairPolicy({ terms }),
      until: 20_000,
      watch: (_now, _waiting, hosts) => held.push(heldOn(hosts).get('a')?.jobs ?? 0),
    });
    assert.ok(held.length > 50);
    assert.ok(held.every((jobs) => jobs >= 11 && jobs <= 13));
  });

  it('reaches what bench/fairness.ts aims for', async () => {
    const bench = fileURLToPath(new URL('../../bench/fairness.ts', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [bench, '--check']);
    assert.equal(stdout.match(/PASS/g)?.length, 4);
  });
});
