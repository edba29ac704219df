import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { choose, UNLIMITED, type WaitingJob } from '../../queues/choose.ts';
import type { OpenHost } from '../../queues/host-room.ts';
import { type Amount, amountOn, fits, subtract } from '../../src/jobs/amount.ts';

const NOW = 1_000_000;
const size = (cpus: number, memory = cpus) => ({ cpusMilli: cpus * 1_000, memoryMib: memory * 1_024 });
const job = (jobId: string, cpus: number, rest: Partial<WaitingJob> = {}): WaitingJob => ({
  jobId,
  owner: 'o',
  image: 'i',
  key: 0,
  position: Number(/\d+/.exec(jobId)?.[0] ?? 0),
  since: 0,
  runMs: 60_000,
  ...size(cpus),
  ...rest,
});
const host = (
  name: string,
  cpus: number,
  running: readonly (readonly [cpus: number, endsIn: number | null])[] = [],
  memory = cpus,
): OpenHost => ({
  name,
  capacity: size(cpus, memory),
  running: running.map(([used, endsIn]) => ({
    ...size(used),
    owner: 'o',
    endsBy: endsIn === null ? null : NOW + endsIn,
  })),
  lacks: new Set(),
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
  it('prefers the lower key, then the earlier', () => {
    const jobs = [job('j1', 4), job('j2', 4, { key: -1 }), job('j3', 4, { key: -1 })];
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
    assert.deepEqual(choice.promised, { jobId: 'j1', host: 'b', at: NOW + 30_000, firm: true });
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

  describe('on a disk that is bounded', () => {
    const onDisk = (diskMib: number, running: OpenHost['running'] = [], cpus = 4): OpenHost => ({
      ...host('a', cpus),
      capacity: { ...size(cpus), diskMib },
      diskMostMib: 10_240,
      running,
    });
    const disksOf = (...args: Parameters<typeof choose>) =>
      choose(...args).starts.map(({ diskMib }) => diskMib);
    const three = [job('j1', 1), job('j2', 2), job('j3', 1)];

    it('gives a job without a wish the part of the disk that its cpus are of the host’s', () => {
      assert.deepEqual(disksOf(NOW, three, [onDisk(8_000)]), [2_000, 4_000, 2_000]);
    });
    it('gives it neither less than 1 GB nor more than the most', () => {
      assert.deepEqual(disksOf(NOW, three, [onDisk(100_000)]), [10_240, 10_240, 10_240]);
      assert.deepEqual(disksOf(NOW, three, [onDisk(2_100)]), [1_024, 1_050]);
    });
    it('lets a larger wish wait until others have ended, and keeps the room that becomes free', () => {
      const running = [{ ...size(1), diskMib: 6_000, owner: 'o', endsBy: NOW + 1_000 }];
      const wish = job('j1', 1, { diskMib: 5_000 });
      const after = job('j2', 1, { diskMib: 4_000, owner: 'other' });
      const { starts, promised, waiting } = choose(NOW, [wish, after], [onDisk(10_000, running)]);
      assert.deepEqual(starts, [{ jobId: 'j2', host: 'a', endsBy: NOW + 60_000, diskMib: 4_000 }]);
      assert.deepEqual(promised && [promised.jobId, promised.at], ['j1', NOW + 1_000]);
      assert.deepEqual(waiting, [{ jobId: 'j1', why: 'no_room' }]);
    });
    it('lets nothing start in the way of such a wish', () => {
      const running = [{ ...size(1), diskMib: 6_000, owner: 'x', endsBy: NOW + 1_000 }];
      const wish = job('j1', 1, { diskMib: 8_000 });
      const after = job('j2', 1, { diskMib: 3_000, owner: 'other' });
      assert.deepEqual(startsOf(NOW, [wish, after], [onDisk(10_000, running)]), []);
    });
    it('says that it is the disk where others than jobs have filled it, and holds nobody up', () => {
      const choice = choose(NOW, [job('j1', 1), job('j2', 1, { diskMib: 500 })], [onDisk(900)]);
      assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'no_disk' }]);
      assert.deepEqual(
        choice.starts.map(({ jobId }) => jobId),
        ['j2'],
      );
      assert.equal(choice.promised, null);
    });
    it('leaves the disk of a host alone that does not bound it', () => {
      assert.deepEqual(disksOf(NOW, [job('j1', 1, { diskMib: 5_000 })], [host('a', 4)]), [undefined]);
    });
  });
  it('has a promise kept by other owners at once, and by the same owner when it has waited long enough', () => {
    // Three of four cpus are idle for 30 s until the large one starts: 22.5 s of its room, and 16 times that.
    const large = (waited: number) => job('j1', 4, { since: NOW - waited });
    const small = (owner: string) => job('j2', 1, { owner, runMs: 30_001 });
    const busy = [host('a', 4, [[1, 30_000]])];
    assert.deepEqual(startsOf(NOW, [large(0), small('o')], busy), ['j2@a']);
    assert.deepEqual(startsOf(NOW, [large(359_999), small('o')], busy), ['j2@a']);
    assert.deepEqual(startsOf(NOW, [large(360_000), small('o')], busy), []);
    const others = choose(NOW, [large(0), small('other')], busy, {
      held: new Map([['other', { ...size(1), jobs: 1 }]]),
    });
    assert.deepEqual(others.starts, []);
    assert.deepEqual(others.promised, { jobId: 'j1', host: 'a', at: NOW + 30_000, firm: false });
    const impatient = choose(NOW, [large(0), small('o')], busy, { patienceMs: 0 });
    assert.deepEqual(impatient.starts, []);
  });

  describe('between owners', () => {
    const busy = (held: Record<string, number>) =>
      new Map(Object.entries(held).map(([owner, cpus]) => [owner, { ...size(cpus), jobs: 1 }]));
    const flood = (owner: string, count: number, cpus = 1) =>
      Array.from({ length: count }, (_, index) =>
        job(`j${index + 1}`, cpus, { jobId: `${owner}${index}`, owner }),
      );

    it('takes the one that holds least first, regardless of priorities', () => {
      const jobs = [job('j1', 1, { owner: 'a', key: -1e9 }), job('j2', 1, { owner: 'b' })];
      assert.deepEqual(startsOf(NOW, jobs, [host('h', 2, [[1, 60]])], { held: busy({ a: 1 }) }), ['j2@h']);
    });
    it('goes by order where both hold the same', () => {
      const jobs = [job('j2', 1, { owner: 'a' }), job('j1', 1, { owner: 'b' })];
      assert.deepEqual(startsOf(NOW, jobs, [host('h', 1)]), ['j1@h']);
    });
    it('shares in turns, and by weight', () => {
      const jobs = [...flood('a', 12), ...flood('b', 12)];
      const ofA = (weight: number) => {
        const terms = (owner: string) => ({ ...UNLIMITED, weight: owner === 'a' ? weight : 1 });
        return startsOf(NOW, jobs, [host('h', 12)], { terms }).filter((start) => start.startsWith('a'))
          .length;
      };
      assert.deepEqual([ofA(1), ofA(2), ofA(3), ofA(0.5)], [6, 8, 9, 4]);
    });
    it('counts the resource of which an owner has the larger part', () => {
      const memoryHeavy = flood('a', 4).map((one) => ({ ...one, ...size(1, 6) }));
      const light = flood('b', 4).map((one) => ({ ...one, ...size(1, 1), position: one.position + 4 }));
      const cpuHeavy = flood('c', 4).map((one) => ({ ...one, ...size(2, 1), position: one.position + 8 }));
      const { starts } = choose(NOW, [...memoryHeavy, ...light, ...cpuHeavy], [host('h', 12, [], 24)]);
      // A quarter of the memory, a twelfth of the cpus, a sixth of the cpus.
      assert.deepEqual(
        starts.slice(0, 6).map(({ jobId }) => jobId),
        ['a0', 'b0', 'c0', 'b1', 'b2', 'c1'],
      );
    });
    it('keeps nobody’s limits but their own', () => {
      const jobs = [...flood('a', 5, 2), ...flood('b', 2)];
      const limits = [{ maxJobs: 2 }, { maxCpusMilli: 5_000 }, { maxMemoryMib: 4_096 }];
      for (const limit of limits) {
        const terms = (owner: string) => (owner === 'a' ? { ...UNLIMITED, ...limit } : UNLIMITED);
        const choice = choose(NOW, jobs, [host('h', 16)], { terms });
        assert.deepEqual(
          choice.starts.map((start) => start.jobId).sort(),
          ['a0', 'a1', 'b0', 'b1'],
          JSON.stringify(limit),
        );
        assert.deepEqual(new Set(choice.waiting.map(({ why }) => why)), new Set(['limit']));
        assert.equal(choice.promised, null);
      }
    });
    it('counts what an owner holds on hosts that take no work against its limits', () => {
      const terms = () => ({ ...UNLIMITED, maxCpusMilli: 4_000 });
      const choice = choose(NOW, [job('j1', 1)], [host('h', 4)], { held: busy({ o: 4 }), terms });
      assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'limit' }]);
    });
    it('lets a job that alone is beyond its owner’s limits hold nobody up, however long it has waited', () => {
      const limits = [{ maxCpusMilli: 2_000 }, { maxMemoryMib: 2_048 }];
      for (const limit of limits) {
        const terms = () => ({ ...UNLIMITED, ...limit });
        const jobs = [job('j1', 4), job('j2', 1)];
        const choice = choose(NOW, jobs, [host('h', 8)], { terms, patienceMs: 0 });
        assert.deepEqual(
          choice.starts.map((start) => start.jobId),
          ['j2'],
        );
        assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'beyond_limit' }]);
      }
    });
    it('lets an owner’s later jobs pass one that is at a limit, until it has waited for too long', () => {
      const jobs = (since: number) => [job('j1', 4, { since }), job('j2', 1, { since: NOW })];
      const terms = () => ({ ...UNLIMITED, maxCpusMilli: 5_000 });
      const fairness = { held: busy({ o: 3 }), terms, patienceMs: 1_000 };
      assert.deepEqual(startsOf(NOW, jobs(NOW - 999), [host('h', 8)], fairness), ['j2@h']);
      assert.deepEqual(startsOf(NOW, jobs(NOW - 1_000), [host('h', 8)], fairness), []);
    });
  });

  describe('a job whose image is missing', () => {
    const lacking = (
      name: string,
      cpus: number,
      ...rest: [(readonly [number, number | null])[]?]
    ): OpenHost => ({
      ...host(name, cpus, ...rest),
      lacks: new Set(['i']),
    });
    it('starts where it is, though another host is fuller', () => {
      assert.deepEqual(startsOf(NOW, [job('j1', 1)], [lacking('a', 2), host('b', 8)]), ['j1@b']);
    });
    it('asks for it where it has room, and leaves the room to others meanwhile', () => {
      const jobs = [job('j1', 4), job('j2', 4, { image: 'other' })];
      const choice = choose(NOW, jobs, [lacking('a', 4), host('b', 4, [[1, 60]])]);
      assert.deepEqual(choice.pulls, [{ jobId: 'j1', host: 'a', image: 'i' }]);
      assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'image' }]);
      assert.deepEqual(
        choice.starts.map((start) => start.jobId),
        ['j2'],
      );
      assert.equal(choice.promised, null);
    });
    it('asks for it before there is room when no host that could run it has it', () => {
      const choice = choose(NOW, [job('j1', 4)], [lacking('a', 4, [[4, 60]]), host('b', 2)]);
      assert.deepEqual(choice.pulls, [{ jobId: 'j1', host: 'a', image: 'i' }]);
      assert.equal(choice.promised, null);
    });
    it('waits for the host that has it when the one with room could not get it', () => {
      const a = { ...lacking('a', 4), cannotGet: new Set(['i']) };
      const choice = choose(NOW, [job('j1', 4)], [a, host('b', 4, [[4, 90]])]);
      assert.deepEqual(choice.waiting, [{ jobId: 'j1', why: 'no_room' }]);
      assert.equal(choice.promised?.host, 'b');
      assert.deepEqual(choice.pulls, []);
      const third = choose(NOW, [job('j1', 4)], [a, host('b', 4, [[4, 90]]), lacking('c', 8)]);
      assert.deepEqual(third.pulls, [{ jobId: 'j1', host: 'c', image: 'i', hadElsewhere: true }]);
      const nobody = choose(NOW, [job('j1', 4)], [a, host('b', 2)]);
      assert.deepEqual(nobody.pulls, [{ jobId: 'j1', host: 'a', image: 'i' }]);
    });
    it('is promised room where it is', () => {
      const hosts = [lacking('a', 4, [[4, 60]]), host('b', 4, [[4, 90]])];
      assert.equal(choose(NOW, [job('j1', 4)], hosts).promised?.host, 'b');
    });
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
        job(`j${index}`, amount.cpus, { ...size(amount.cpus, amount.memory), key: priority, runMs }),
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
        // What runs there has come in by reservation: it fits. Every other host bounds its disk.
        const disk = index % 2 === 0 ? {} : { diskMib: amount.memory * 1_500 };
        const capacity = { ...size(amount.cpus, amount.memory), ...disk };
        let left: Amount = { ...capacity };
        const held = running.flatMap((one) => {
          const wanted = amountOn({ capacity }, size(one.amount.cpus, one.amount.memory));
          if (!fits(left, wanted)) return [];
          left = subtract(left, wanted);
          return [{ ...wanted, owner: 'o', endsBy: NOW + one.endsIn }];
        });
        return { name: `h${index}`, capacity, diskMostMib: 4_000, running: held, lacks: new Set() };
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
          const promised = [...running, ...starts.filter((start) => start.host === name)];
          const disk = promised.reduce((total, { diskMib = 0 }) => total + diskMib, 0);
          assert.ok(disk <= (capacity.diskMib ?? Infinity));
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
              one.key === later.key &&
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
