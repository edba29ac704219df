import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { choose, type WaitingJob } from '../../queues/choose.ts';
import type { OpenHost } from '../../queues/host-room.ts';
import { planStarts, startOfPosition } from '../../queues/estimate.ts';

const NOW = 1_000_000;
const size = (cpus: number, memory = cpus) => ({ cpusMilli: cpus * 1_000, memoryMib: memory * 1_024 });
const job = (index: number, cpus: number, rest: Partial<WaitingJob> = {}): WaitingJob => ({
  jobId: `j${index}`,
  owner: 'owner',
  image: 'image',
  key: 0,
  position: index,
  since: NOW,
  runMs: 60_000,
  ...size(cpus),
  ...rest,
});
const host = (
  name: string,
  cpus: number,
  running: readonly (readonly [cpus: number, endsIn: number | null])[] = [],
): OpenHost => ({
  name,
  capacity: size(cpus),
  running: running.map(([used, endsIn]) => ({
    ...size(used),
    owner: 'owner',
    endsBy: endsIn === null ? null : NOW + endsIn,
  })),
  lacks: new Set(),
});

/** When each job starts if all hold their places for exactly as long as they may, and dispatch looks at each end. */
function truth(jobs: readonly WaitingJob[], hosts: readonly OpenHost[]): Map<string, number> {
  const started = new Map<string, number>();
  const running = hosts.map((one) => [...one.running]);
  let waiting = [...jobs];
  for (let at = NOW; waiting.length > 0;) {
    const open = hosts.map((one, index) => ({ ...one, running: running[index] ?? [] }));
    for (const start of choose(at, waiting, open).starts) {
      const begun = waiting.find((one) => one.jobId === start.jobId);
      assert.ok(begun);
      started.set(start.jobId, at);
      const { cpusMilli, memoryMib, owner } = begun;
      running[hosts.findIndex((one) => one.name === start.host)]?.push({
        cpusMilli,
        memoryMib,
        owner,
        endsBy: start.endsBy,
      });
    }
    waiting = waiting.filter((one) => !started.has(one.jobId));
    const ends = running.flat().flatMap(({ endsBy }) => (endsBy === null ? [] : [Math.max(endsBy, at + 1)]));
    if (ends.length === 0) break;
    at = Math.min(...ends);
    for (const list of running) {
      for (let index = list.length - 1; index >= 0; index -= 1) {
        if ((list[index]?.endsBy ?? Infinity) <= at) list.splice(index, 1);
      }
    }
  }
  return started;
}

const amounts = fc.record({ cpus: fc.integer({ min: 1, max: 8 }), memory: fc.integer({ min: 1, max: 8 }) });
const waitingJobs = fc
  .array(fc.record({ amount: amounts, runMs: fc.integer({ min: 1, max: 100 }) }), {
    minLength: 1,
    maxLength: 24,
  })
  .map((list) =>
    list.map(({ amount, runMs }, index) =>
      job(index, amount.cpus, { ...size(amount.cpus, amount.memory), runMs }),
    ),
  );
const openHosts = fc
  .array(
    fc.record({
      cpus: fc.integer({ min: 1, max: 8 }),
      used: fc.array(fc.integer({ min: -5, max: 100 }), { maxLength: 4 }),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((list) =>
    list.map(({ cpus, used }, index) =>
      host(
        `h${index}`,
        cpus,
        used.slice(0, cpus).map((endsIn) => [1, endsIn] as const),
      ),
    ),
  );

describe('the estimated start', () => {
  it('is now for what has room', () => {
    assert.equal(planStarts(NOW, [job(1, 1)], [host('a', 1)]).starts.get('j1'), NOW);
  });
  it('is what dispatch firmly promises to the first that has none', () => {
    fc.assert(
      fc.property(waitingJobs, openHosts, (jobs, hosts) => {
        const { promised } = choose(NOW, jobs, hosts);
        if (promised?.firm)
          assert.equal(planStarts(NOW, jobs, hosts).starts.get(promised.jobId), promised.at);
      }),
      { numRuns: 500 },
    );
  });
  it('is never before now', () => {
    fc.assert(
      fc.property(waitingJobs, openHosts, (jobs, hosts) => {
        for (const at of planStarts(NOW, jobs, hosts).starts.values()) assert.ok(at === null || at >= NOW);
      }),
    );
  });
  it('is not before the true start when every job of one owner holds its place for as long as it may', () => {
    fc.assert(
      fc.property(waitingJobs, openHosts, (jobs, hosts) => {
        const { starts } = planStarts(NOW, jobs, hosts);
        for (const [jobId, at] of truth(jobs, hosts)) assert.ok((starts.get(jobId) ?? -1) >= at);
      }),
      { numRuns: 300 },
    );
  });
  it('is not before the true start of a job far behind, when the jobs are alike', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 50 }),
        openHosts,
        (cpus, runMs, hosts) => {
          const jobs = Array.from({ length: 200 }, (_, index) => job(index, cpus, { runMs }));
          const plan = planStarts(NOW, jobs, hosts);
          const started = truth(jobs, hosts);
          for (const [index, { jobId }] of jobs.entries()) {
            const at = started.get(jobId);
            // The plan's own places count what starts at once, as the queue does until it has started.
            const estimate = plan.starts.get(jobId) ?? startOfPosition(plan, index + 1);
            if (at === undefined) assert.equal(estimate, null);
            else assert.ok(estimate !== null && estimate >= at, `${jobId}: ${estimate} is before ${at}`);
          }
        },
      ),
      { numRuns: 40 },
    );
  });
  it('is no earlier the further behind a job stands', () => {
    fc.assert(
      fc.property(waitingJobs, openHosts, (jobs, hosts) => {
        const plan = planStarts(NOW, jobs, hosts);
        let before = NOW;
        for (let position = 1; position <= 300; position += 1) {
          const at = startOfPosition(plan, position);
          if (at === null) return;
          assert.ok(at >= before);
          before = at;
        }
      }),
    );
  });
  it('is no earlier with more of the same work ahead', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 60 }),
        fc.integer({ min: 1, max: 5 }),
        openHosts,
        (cpus, ahead, more, hosts) => {
          const last = (count: number) =>
            planStarts(
              NOW,
              Array.from({ length: count + 1 }, (_, index) => job(index, cpus)),
              hosts,
            ).starts.get(`j${count}`) ?? Infinity;
          assert.ok(last(ahead + more) >= last(ahead));
        },
      ),
    );
  });
  it('is unknown behind what has no known end, and for what no host is large enough for', () => {
    const { starts } = planStarts(NOW, [job(1, 2), job(2, 9)], [host('a', 2, [[1, null]])]);
    assert.deepEqual([...starts.values()], [null, null]);
    assert.equal(startOfPosition(planStarts(NOW, [job(1, 2)], []), 1), null);
  });
  it('is unknown while the image is fetched, and those behind are planned as if it were there', () => {
    const lacking = { ...host('a', 1), lacks: new Set(['rare']) };
    const { starts } = planStarts(NOW, [job(1, 1, { image: 'rare' }), job(2, 1)], [lacking]);
    assert.equal(starts.get('j1'), null);
    assert.equal(starts.get('j2'), NOW + 60_000);
  });
  it('costs no more for a large farm with a long queue than a busy dispatcher can spare', () => {
    const hosts = Array.from({ length: 100 }, (_, index) =>
      host(
        `h${index}`,
        8,
        Array.from({ length: 8 }, (__, at) => [1, (index + 1) * (at + 1) * 10] as const),
      ),
    );
    const jobs = Array.from({ length: 512 }, (_, index) => job(index, 1 + (index % 8)));
    const { starts } = planStarts(NOW, jobs, hosts);
    assert.equal(starts.size, 64);
  });
});
