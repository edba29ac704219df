import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { choose, type OpenHost, type WaitingJob } from '../../queues/choose.ts';

const NOW = 1_000_000;
const size = (cpus: number, memory = cpus) => ({ cpusMilli: cpus * 1_000, memoryMib: memory * 1_024 });
const job = (jobId: string, cpus: number, rest: Partial<WaitingJob> = {}): WaitingJob => ({
  jobId,
  priority: 5,
  position: Number(/\d+/.exec(jobId)?.[0] ?? 0),
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
    endsBy: endsIn === null ? null : NOW + endsIn,
  })),
});
const startsOf = (...args: Parameters<typeof choose>) =>
  choose(...args).starts.map((start) => `${start.jobId}@${start.host}`);

describe('the choice of job and host', () => {
  it('starts what fits, in order', () => {
    assert.deepEqual(startsOf(NOW, [job('j2', 1), job('j1', 1), job('j3', 4)], [host('a', 4)]), [
      'j1@a',
      'j2@a',
    ]);
  });
  it('prefers the higher priority, then the earlier', () => {
    const jobs = [job('j1', 4), job('j2', 4, { priority: 1 }), job('j3', 4, { priority: 1 })];
    assert.deepEqual(startsOf(NOW, jobs, [host('a', 4)]), ['j2@a']);
  });
  it('fills the fullest host first, so that gaps stay large', () => {
    assert.deepEqual(
      startsOf(NOW, [job('j1', 1), job('j2', 4)], [host('a', 4), host('b', 4, [[3, 1_000]])]),
      ['j1@b', 'j2@a'],
    );
  });
  it('keeps the host where the first large job can start soonest', () => {
    const choice = choose(NOW, [job('j1', 4)], [host('a', 4, [[1, 90_000]]), host('b', 4, [[1, 30_000]])]);
    assert.deepEqual(choice.promised, { jobId: 'j1', host: 'b', at: NOW + 30_000 });
    assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'no_room' }]);
  });
  it('does not let a small job delay the large one', () => {
    const choice = choose(
      NOW,
      [job('j1', 4), job('j2', 1, { runMs: 30_001 })],
      [host('a', 4, [[3, 30_000]])],
    );
    assert.deepEqual(choice.starts, []);
    assert.deepEqual(choice.waiting.at(1), { jobId: 'j2', why: 'held_back' });
  });
  it('lets a small job use the gap that it will have left', () => {
    const jobs = [job('j1', 4), job('j2', 1, { runMs: 30_000 })];
    assert.deepEqual(startsOf(NOW, jobs, [host('a', 4, [[3, 30_000]])]), ['j2@a']);
  });
  it('lets a small job run beside the large one when there is room for both', () => {
    const jobs = [job('j1', 4), job('j2', 1, { runMs: 9e9 }), job('j3', 1, { runMs: 9e9 })];
    assert.deepEqual(startsOf(NOW, jobs, [host('a', 5, [[3, 30_000]])]), ['j2@a']);
  });
  it('lets small jobs start on other hosts', () => {
    const jobs = [job('j1', 4), job('j2', 2, { runMs: 9e9 })];
    assert.deepEqual(startsOf(NOW, jobs, [host('a', 4, [[1, 30_000]]), host('b', 2)]), ['j2@b']);
  });
  it('a job that no open host is large enough for holds nobody up', () => {
    const choice = choose(NOW, [job('j1', 9), job('j2', 4)], [host('a', 4)]);
    assert.deepEqual(
      choice.starts.map((start) => start.jobId),
      ['j2'],
    );
    assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'too_large' }]);
    assert.equal(choice.promised, null);
  });
  it('keeps everything for the large job when nobody knows how long it has to wait', () => {
    assert.deepEqual(startsOf(NOW, [job('j1', 4), job('j2', 1)], [host('a', 4, [[1, null]])]), []);
  });
  it('starts nothing on a host that holds more than it has', () => {
    assert.deepEqual(startsOf(NOW, [job('j1', 1)], [host('a', 2, [[3, 10]])]), []);
  });

  const amounts = fc.record({ cpus: fc.integer({ min: 1, max: 8 }), memory: fc.integer({ min: 1, max: 8 }) });
  const jobs = fc
    .array(
      fc.record({
        amount: amounts,
        priority: fc.integer({ min: 1, max: 10 }),
        runMs: fc.integer({ min: 1, max: 100 }),
      }),
      { maxLength: 20 },
    )
    .map((list) =>
      list.map(({ amount, priority, runMs }, index) =>
        job(`j${index}`, amount.cpus, { ...size(amount.cpus, amount.memory), priority, runMs }),
      ),
    );
  const hosts = fc
    .array(
      fc.record({
        amount: amounts,
        running: fc.array(fc.record({ amount: amounts, endsIn: fc.integer({ min: -5, max: 100 }) }), {
          maxLength: 4,
        }),
      }),
      { maxLength: 4 },
    )
    .map((list) =>
      list.map(({ amount, running }, index): OpenHost => {
        // What runs there has come in by reservation: it fits.
        const capacity = size(amount.cpus, amount.memory);
        const left = { ...capacity };
        const held = running.flatMap((one) => {
          const wanted = size(one.amount.cpus, one.amount.memory);
          if (wanted.cpusMilli > left.cpusMilli || wanted.memoryMib > left.memoryMib) return [];
          left.cpusMilli -= wanted.cpusMilli;
          left.memoryMib -= wanted.memoryMib;
          return [{ ...wanted, endsBy: NOW + one.endsIn }];
        });
        return { name: `h${index}`, capacity, running: held };
      }),
    );
  const sum = (list: readonly { cpusMilli: number; memoryMib: number }[]) =>
    list.reduce<{ cpusMilli: number; memoryMib: number }>(
      (total, one) => ({
        cpusMilli: total.cpusMilli + one.cpusMilli,
        memoryMib: total.memoryMib + one.memoryMib,
      }),
      { cpusMilli: 0, memoryMib: 0 },
    );

  it('never exceeds what is free, and starts a job at most once', () => {
    fc.assert(
      fc.property(jobs, hosts, (waiting, open) => {
        const { starts } = choose(NOW, waiting, open);
        assert.equal(new Set(starts.map((start) => start.jobId)).size, starts.length);
        for (const { name, capacity, running } of open) {
          const begun = starts
            .filter((start) => start.host === name)
            .map((start) => waiting.find((one) => one.jobId === start.jobId) ?? job('?', 99));
          const used = sum([...running, ...begun]);
          assert.ok(used.cpusMilli <= capacity.cpusMilli && used.memoryMib <= capacity.memoryMib);
        }
      }),
      { numRuns: 500 },
    );
  });
  it('never delays the promised job beyond its time', () => {
    fc.assert(
      fc.property(jobs, hosts, (waiting, open) => {
        const { starts, promised } = choose(NOW, waiting, open);
        if (!promised) return;
        const at = promised.at;
        assert.ok(at !== null);
        const place = open.find((one) => one.name === promised.host);
        const large = waiting.find((one) => one.jobId === promised.jobId);
        assert.ok(place && large);
        const still = place.running.filter((one) => Math.max(one.endsBy ?? Infinity, NOW + 1) > at);
        const begun = starts
          .filter((start) => start.host === place.name && start.endsBy > at)
          .map((start) => waiting.find((one) => one.jobId === start.jobId) ?? job('?', 99));
        const used = sum([...still, ...begun, large]);
        assert.ok(used.cpusMilli <= place.capacity.cpusMilli && used.memoryMib <= place.capacity.memoryMib);
      }),
      { numRuns: 1_000 },
    );
  });
  it('never starts a job while an equal one that came earlier waits', () => {
    fc.assert(
      fc.property(jobs, hosts, (waiting, open) => {
        const choice = choose(NOW, waiting, open);
        const started = new Set(choice.starts.map((start) => start.jobId));
        for (const later of waiting.filter((one) => started.has(one.jobId))) {
          const passed = waiting.find(
            (one) =>
              !started.has(one.jobId) &&
              one.position < later.position &&
              one.priority === later.priority &&
              one.cpusMilli === later.cpusMilli &&
              one.memoryMib === later.memoryMib &&
              one.runMs === later.runMs,
          );
          assert.equal(passed, undefined);
        }
      }),
      { numRuns: 500 },
    );
  });
  it('accounts for every job: started, or waiting with a reason', () => {
    fc.assert(
      fc.property(jobs, hosts, (waiting, open) => {
        const choice = choose(NOW, waiting, open);
        const seen = [...choice.starts, ...choice.waiting].map((one) => one.jobId).sort();
        assert.deepEqual(seen, waiting.map((one) => one.jobId).sort());
      }),
    );
  });
});
