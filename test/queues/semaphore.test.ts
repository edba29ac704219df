import assert from 'node:assert/strict';
import fc from 'fast-check';
import { after, before, beforeEach, describe, it } from 'mocha';
import type { Redis } from 'ioredis';
import { connect, disconnect } from '../../queues/connection.ts';
import { createKeys, type Keys } from '../../queues/keys.ts';
import { isRefusal, type RefusalReason } from '../../queues/semaphore/refusal.ts';
import type { HostEntry } from '../../queues/semaphore/farm-view.ts';
import {
  type Hold,
  type HoldLimits,
  type DiskMeasure,
  type HostDisk,
  Semaphore,
} from '../../queues/semaphore/semaphore.ts';
import type { Amount } from '../../src/jobs/amount.ts';
import { eventually } from '../support/eventually.ts';
import { ownPrefix, silent, TestRedis } from '../support/redis.ts';
import { hostKey, reservationKey } from '../support/redis-state.ts';

const LEASE_MS = 30_000;
const SIZE = { cpusMilli: 4_000, memoryMib: 8_192 };
/** Two hosts on one file system. */
const SHARED = { ...SIZE, diskMib: 6_000 };
const DISK = { mostMib: 10_240, place: 'one' };
const ONE = { cpusMilli: 1_000, memoryMib: 1_024 };

const free = (freeMib: number): DiskMeasure => ({ freeMib, held: [] });

describe('the semaphore', () => {
  let redis: TestRedis;
  let connection: Redis;
  let keys: Keys;
  let semaphore: Semaphore;

  before(async () => {
    redis = await TestRedis.start();
    connection = connect(redis.url, 'producer', silent);
    await eventually('Redis is connected', () => connection.status === 'ready');
  });
  after(async () => {
    await disconnect(connection);
    await redis.stop();
  });
  beforeEach(async () => {
    keys = createKeys(ownPrefix());
    semaphore = new Semaphore(connection, keys);
    await semaphore.restoring('t');
    await semaphore.found('t');
  });

  const openHost = async (
    name = 'a',
    capacity: Amount = SIZE,
    disk: HostDisk = { mostMib: 10_240, place: `disk of ${name}` },
  ): Promise<number> => {
    const generation = await semaphore.register(name, capacity, LEASE_MS, null, { disk });
    await semaphore.sync(name, generation, async () => []);
    return generation;
  };
  const wait = (jobId: string) => connection.set(keys.waitingJob(jobId), '{}');
  const reserve = async (
    jobId: string,
    options: Partial<Hold> & { host?: string; ticket?: string; limits?: HoldLimits } = {},
  ) => {
    await wait(jobId);
    const request = {
      jobId,
      epoch: 1,
      owner: 'o',
      host: 'a',
      ...ONE,
      endsBy: null,
      ticket: 't1',
      ...options,
    };
    await semaphore.reserve(request);
  };
  const refused = (work: Promise<unknown>, reason: RefusalReason) =>
    assert.rejects(work, (error) => isRefusal(error, reason), `expected a refusal: ${reason}`);
  const host = async (name = 'a'): Promise<HostEntry> => {
    const found = (await semaphore.view()).hosts.find((entry) => entry.name === name);
    assert.ok(found, `no host ${name}`);
    return found;
  };
  const reservations = async () => (await semaphore.view()).reservations;

  describe('reserve', () => {
    it('takes cpus and memory of the host', async () => {
      await openHost();
      await reserve('j', { endsBy: 123 });
      assert.deepEqual((await host()).used, ONE);
      const [held] = await reservations();
      assert.equal(held?.jobId, 'j');
      assert.equal(held.endsBy, 123);
      assert.equal(held.claimed, false);
      assert.deepEqual(await semaphore.audit(), []);
    });
    it('refuses while Redis has lost its data', async () => {
      await openHost();
      await connection.hdel(keys.server, 'nonce');
      await refused(reserve('j'), 'data_lost');
    });
    it('refuses an unknown host', () => refused(reserve('j', { host: 'nobody' }), 'unknown_host'));
    it('refuses a host that was given up', async () => {
      await openHost();
      await connection.hset(hostKey(keys, 'a'), 'lost', '1');
      await refused(reserve('j'), 'unknown_host');
    });
    it('refuses a host whose lease has ended', async () => {
      await openHost();
      await connection.hincrby(hostKey(keys, 'a'), 'beatAt', -LEASE_MS - 1_000);
      await refused(reserve('j'), 'lease_ended');
    });
    it('refuses a draining host until it is undrained', async () => {
      await openHost();
      await semaphore.drain('a', true);
      await refused(reserve('j'), 'draining');
      await semaphore.drain('a', false);
      await reserve('j');
    });
    it('refuses a host that has not synchronised', async () => {
      await semaphore.register('a', SIZE, LEASE_MS, null);
      await refused(reserve('j'), 'not_synchronised');
    });
    it('refuses a job that has left the queue', async () => {
      await openHost();
      const request = { jobId: 'gone', epoch: 1, owner: 'o', host: 'a', ...ONE, endsBy: null, ticket: 't' };
      await refused(semaphore.reserve(request), 'not_waiting');
    });
    it('refuses a second reservation of one job', async () => {
      await openHost();
      await openHost('b');
      await reserve('j');
      await refused(reserve('j', { host: 'b' }), 'already_reserved');
    });
    it('refuses what does not fit, by cpus and by memory', async () => {
      await openHost();
      await refused(reserve('j', { cpusMilli: SIZE.cpusMilli + 1 }), 'no_room');
      await refused(reserve('j', { memoryMib: SIZE.memoryMib + 1 }), 'no_room');
      await reserve('j', SIZE);
      await refused(reserve('k', { cpusMilli: 1, memoryMib: 0 }), 'no_room');
      await refused(reserve('k', { cpusMilli: 0, memoryMib: 1 }), 'no_room');
    });
    it('refuses what does not fit on the disk, and measures anew', async () => {
      const generation = await openHost('a', { ...SIZE, diskMib: 3_000 });
      await refused(reserve('j', { diskMib: 3_001 }), 'no_room');
      await reserve('j', { diskMib: 2_000 });
      await refused(reserve('k', { diskMib: 1_001 }), 'no_room');
      await semaphore.measured('a', generation, free(3_001));
      await reserve('k', { diskMib: 1_001 });
      assert.equal((await host()).used.diskMib, 3_001);
      // Somebody else has filled it meanwhile: what is promised stays, and nothing more is.
      await semaphore.measured('a', generation, free(1_000));
      await refused(reserve('l', { diskMib: 1 }), 'no_room');
      await semaphore.release('j', 1);
      await semaphore.release('k', 1);
      assert.equal((await host()).used.diskMib, 0);
      await semaphore.measured('a', generation, free(1_000));
      await reserve('l', { diskMib: 1_000 });
      assert.deepEqual(await semaphore.audit(), []);
      await refused(semaphore.measured('a', generation - 1, free(9_000)), 'fenced');
    });
    it('promises what a job has written to nobody else: while it runs, and when it has ended', async () => {
      const generation = await openHost('a', { ...SIZE, diskMib: 3_000 });
      await reserve('j', { diskMib: 2_000 });
      const written = { freeMib: 1_000, held: [{ jobId: 'j', epoch: 1, mib: 2_000 }] };
      await semaphore.measured('a', generation, written);
      assert.equal((await host()).capacity.diskMib, 3_000);
      await refused(reserve('k', { diskMib: 1_001 }), 'no_room');
      await semaphore.release('j', 1);
      // Its disk is still there, whether its host has looked since or not.
      await refused(reserve('k', { diskMib: 1_001 }), 'no_room');
      await semaphore.measured('a', generation, written);
      await refused(reserve('k', { diskMib: 1_001 }), 'no_room');
      // Nor is it another dispatch's of the same job.
      await semaphore.measured('a', generation, free(3_000));
      await reserve('j', { epoch: 2, diskMib: 500 });
      await semaphore.measured('a', generation, written);
      await refused(reserve('k', { diskMib: 501 }), 'no_room');
      await semaphore.measured('a', generation, free(-200));
      assert.equal((await host()).capacity.diskMib, 0);
    });
    it('promises nobody what a job has written beyond its own promise', async () => {
      const generation = await openHost('a', { ...SIZE, diskMib: 3_000 });
      await reserve('j', { diskMib: 1_000 });
      const log = { jobId: 'j', epoch: 1, mib: 700 };
      await semaphore.measured('a', generation, { freeMib: 1_000, held: [{ ...log, mib: 800 }, log] });
      assert.equal((await host()).capacity.diskMib, 2_000);
    });
    it('keeps the disk of a dispatch whose container is gone until what it left is stored', async () => {
      const generation = await openHost('a', { ...SIZE, diskMib: 3_000 });
      await reserve('j', { diskMib: 2_000 });
      await semaphore.claim('j', 1, 'a', generation);
      // The list of a synchronisation that began before is older than what it finds.
      await semaphore.sync('a', generation, async () => {
        await semaphore.settle('j', 1);
        return [{ jobId: 'j', epoch: 1, owner: 'o', ...ONE, diskMib: 2_000, endsBy: null }];
      });
      assert.deepEqual((await host()).used, { cpusMilli: 0, memoryMib: 0, diskMib: 2_000 });
      await refused(reserve('k', { diskMib: 1_001 }), 'no_room');
      await semaphore.settle('j', 1);
      await semaphore.settle('j', 2);
      await semaphore.sync('a', generation, async () => [
        { jobId: 'j', epoch: 1, owner: 'o', ...ONE, diskMib: 2_000, endsBy: null, found: false },
      ]);
      assert.equal(await semaphore.release('j', 1), true);
      assert.deepEqual((await host()).used, { cpusMilli: 0, memoryMib: 0, diskMib: 0 });
      await semaphore.measured('a', generation, free(3_000));
      await reserve('k', { diskMib: 1_001 });
    });
    it('sums its disk anew when a host says what it holds', async () => {
      const generation = await openHost('a', { ...SIZE, diskMib: 3_000 });
      await reserve('j', { diskMib: 1_000 });
      // As a process that knows of no disk leaves it.
      await connection.hincrby(hostKey(keys, 'a'), 'usedDisk', 2_000);
      await semaphore.sync('a', generation, async () => []);
      assert.equal((await host()).used.diskMib, 1_000);
      assert.deepEqual(await semaphore.audit(), []);
    });
    it('promises a disk once that two hosts share', async () => {
      const disk = { mostMib: 10_240, place: 'one' };
      await openHost('a', { ...SIZE, diskMib: 3_000 }, disk);
      await openHost('b', { ...SIZE, diskMib: 3_000 }, disk);
      await openHost('c', { ...SIZE, diskMib: 3_000 });
      await reserve('j', { diskMib: 2_000 });
      await refused(reserve('k', { host: 'b', diskMib: 1_001 }), 'no_room');
      await reserve('k', { host: 'b', diskMib: 1_000 });
      await reserve('l', { host: 'c', diskMib: 3_000 });
    });
    it('wakes the dispatcher when there is more disk than before', async () => {
      const generation = await openHost('a', { ...SIZE, diskMib: 1_000 });
      const subscriber = connect(redis.url, 'worker', silent);
      let woken = 0;
      subscriber.on('message', () => (woken += 1));
      await subscriber.subscribe(keys.wakeChannel);
      await semaphore.measured('a', generation, free(500));
      await semaphore.measured('a', generation, free(2_000));
      await eventually('the dispatcher is woken', () => woken === 1);
      await disconnect(subscriber);
    });
    it('refuses what goes beyond a limit of the owner, and counts every host', async () => {
      await openHost();
      await openHost('b');
      const none = { jobs: null, cpusMilli: null, memoryMib: null };
      await reserve('j');
      for (const limit of [{ jobs: 1 }, { cpusMilli: 1_999 }, { memoryMib: 2_047 }]) {
        const limits = { ...none, ...limit };
        await refused(reserve('k', { host: 'b', limits }), 'over_limit');
        await reserve('l', { host: 'b', owner: 'other', limits });
        await semaphore.release('l', 1);
      }
      await reserve('k', { host: 'b', limits: { jobs: 2, cpusMilli: 2_000, memoryMib: 2_048 } });
      await semaphore.release('j', 1);
      await semaphore.release('k', 1);
      await reserve('m', { limits: { ...none, jobs: 1 } });
      assert.deepEqual(await semaphore.audit(), []);
    });
    it('lets an owner’s limit through and no more of twenty at the same moment', async () => {
      await openHost();
      const limits = { jobs: 3, cpusMilli: null, memoryMib: null };
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) => reserve(`j${index}`, { limits })),
      );
      assert.equal(results.filter((result) => result.status === 'fulfilled').length, 3);
      assert.deepEqual(
        await semaphore.heldByOwner(),
        new Map([['o', { cpusMilli: 3_000, memoryMib: 3_072, jobs: 3 }]]),
      );
    });
    it('lets four of twenty at the same moment onto a host for four', async () => {
      await openHost();
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) => reserve(`j${index}`)),
      );
      assert.equal(results.filter((result) => result.status === 'fulfilled').length, 4);
      assert.equal((await host()).used.cpusMilli, 4_000);
    });
  });

  describe('claim', () => {
    it('is the point of no return', async () => {
      const generation = await openHost();
      await reserve('j');
      assert.equal(await semaphore.claim('j', 1, 'a', generation), 'first');
      await refused(semaphore.revoke('j', 1), 'already_claimed');
    });
    it('says when it was claimed before', async () => {
      const generation = await openHost();
      await reserve('j');
      await semaphore.claim('j', 1, 'a', generation);
      assert.equal(await semaphore.claim('j', 1, 'a', generation), 'again');
    });
    it('counts from the last time, for a list that is being made meanwhile', async () => {
      const generation = await openHost();
      await reserve('j');
      await semaphore.claim('j', 1, 'a', generation);
      const { now } = await semaphore.view();
      await eventually('a millisecond has passed', async () => (await semaphore.view()).now > now + 1);
      await semaphore.sync('a', generation, async () => {
        await semaphore.claim('j', 1, 'a', generation);
        return [];
      });
      assert.equal((await reservations()).length, 1);
    });
    it('refuses what was taken back, another epoch and another host', async () => {
      const generation = await openHost();
      const other = await openHost('b');
      await reserve('j');
      await refused(semaphore.claim('j', 2, 'a', generation), 'not_reserved');
      await refused(semaphore.claim('j', 1, 'b', other), 'not_reserved');
      await semaphore.revoke('j', 1);
      await refused(semaphore.claim('j', 1, 'a', generation), 'not_reserved');
    });
    it('refuses an older process of the host', async () => {
      const older = await openHost();
      await reserve('j');
      const newer = await openHost();
      assert.ok(newer > older);
      await refused(semaphore.claim('j', 1, 'a', older), 'fenced');
      assert.equal(await semaphore.claim('j', 1, 'a', newer), 'first');
    });
  });

  describe('release and revoke', () => {
    it('give everything back, once', async () => {
      await openHost();
      await reserve('j');
      await reserve('k');
      assert.equal(await semaphore.release('j', 1), true);
      assert.equal(await semaphore.release('j', 1), false);
      assert.equal(await semaphore.revoke('k', 1), true);
      assert.equal(await semaphore.revoke('k', 1), false);
      assert.deepEqual((await host()).used, { cpusMilli: 0, memoryMib: 0 });
      assert.equal((await host()).held, 0);
      assert.deepEqual(await semaphore.audit(), []);
    });
    it('leave another dispatch of the job alone', async () => {
      await openHost();
      await reserve('j', { epoch: 2, ticket: 'mine' });
      assert.equal(await semaphore.release('j', 1), false);
      assert.equal(await semaphore.revoke('j', 1), false);
      assert.equal(await semaphore.revoke('j', 2, 'somebody else’s'), false);
      assert.equal((await host()).held, 1);
      assert.equal(await semaphore.revoke('j', 2, 'mine'), true);
    });
    it('a release wakes the dispatcher', async () => {
      await openHost();
      await reserve('j');
      const listener = connect(redis.url, 'worker', silent);
      let woken = 0;
      listener.on('message', () => (woken += 1));
      await listener.subscribe(keys.wakeChannel);
      await semaphore.release('j', 1);
      await eventually('the release is heard', () => woken > 0);
      await disconnect(listener);
    });
  });

  describe('host names', () => {
    it('belong to the newest process', async () => {
      const older = await openHost();
      const newer = await openHost();
      await refused(semaphore.beat('a', older), 'fenced');
      await refused(semaphore.register('a', SIZE, LEASE_MS, older), 'fenced');
      await refused(
        semaphore.sync('a', older, async () => []),
        'fenced',
      );
      assert.equal(await semaphore.beat('a', newer), 'ok');
    });
    it('get nothing more from the moment at which their process leaves until the next one comes', async () => {
      const generation = await openHost();
      await reserve('held');
      await refused(semaphore.leave('a', generation - 1), 'fenced');
      await semaphore.leave('a', generation);
      assert.equal(await semaphore.beat('a', generation), 'ok');
      assert.equal((await host()).leaseLive, false);
      await refused(reserve('j'), 'lease_ended');
      await openHost();
      await reserve('j');
      assert.equal((await host()).held, 2);
    });
    it('grow their generation though the clock was set back', async () => {
      await openHost();
      await connection.hincrby(hostKey(keys, 'a'), 'generation', 3_600_000);
      const before = (await host()).generation;
      assert.equal(await semaphore.register('a', SIZE, LEASE_MS, null), before + 1);
    });
    it('must be registered again after Redis lost its data, and keep their generation', async () => {
      const generation = await openHost();
      await connection.del(hostKey(keys, 'a'));
      assert.equal(await semaphore.beat('a', generation), 'register');
      assert.equal(await semaphore.register('a', SIZE, LEASE_MS, generation), generation);
      assert.equal(await semaphore.beat('a', generation), 'synchronise');
    });
    it('are given up after a long silence only, and lose their reservations', async () => {
      const generation = await openHost();
      await reserve('j');
      assert.equal(await semaphore.lose('a', 60_000), false);
      await connection.hincrby(hostKey(keys, 'a'), 'beatAt', -61_000);
      assert.equal(await semaphore.lose('a', 60_000), true);
      assert.equal((await host()).held, 0);
      assert.equal(await semaphore.beat('a', generation), 'register');
      await refused(semaphore.lose('nobody', 1), 'unknown_host');
    });
    it('do not seem alive when the clock was set back', async () => {
      await openHost();
      await connection.hincrby(hostKey(keys, 'a'), 'beatAt', 3_600_000);
      const now = (await semaphore.view()).now;
      assert.ok((await host()).beatAt <= now + 1_000);
    });
    it('that the database knows are expected without a lease', async () => {
      assert.equal(await semaphore.expect('b', SIZE), true);
      assert.equal(await semaphore.expect('b', SIZE), false);
      assert.equal((await host('b')).leaseLive, false);
      await refused(reserve('j', { host: 'b' }), 'lease_ended');
    });
    it('unknown ones can’t be drained', () => refused(semaphore.drain('nobody', true), 'unknown_host'));
  });

  describe('sync', () => {
    const hold = (jobId: string, amount = ONE): Hold => ({
      jobId,
      epoch: 1,
      owner: 'o',
      ...amount,
      endsBy: 99,
    });

    it('enters what runs, even over capacity, and then nothing else fits', async () => {
      const generation = await openHost();
      await semaphore.sync('a', generation, async () => [hold('x', SIZE), hold('y')]);
      assert.equal((await host()).used.cpusMilli, 5_000);
      assert.deepEqual(await semaphore.audit(), []);
      await refused(reserve('j'), 'no_room');
      await semaphore.release('x', 1);
      await reserve('j');
    });
    it('drops claims of what is gone and keeps what is on its way', async () => {
      const generation = await openHost();
      await reserve('gone');
      await reserve('coming');
      await semaphore.claim('gone', 1, 'a', generation);
      // A claim of the same millisecond as the list may be younger than it, and stays.
      await eventually('the claim is dropped', async () => {
        await semaphore.sync('a', generation, async () => []);
        return (await host()).held === 1;
      });
      assert.deepEqual(
        (await reservations()).map((reservation) => reservation.jobId),
        ['coming'],
      );
    });
    it('keeps a claim of which nothing was found yet, and enters none', async () => {
      const generation = await openHost();
      await reserve('begun');
      await semaphore.claim('begun', 1, 'a', generation);
      // Later than the claim: one of the same millisecond would stay in any case.
      const claimedAt = (await semaphore.view()).now;
      await eventually('a millisecond has passed', async () => (await semaphore.view()).now > claimedAt + 1);
      const nothingOf = (id: string) => ({ ...hold(id), found: false });
      await semaphore.sync('a', generation, async () => [nothingOf('begun'), nothingOf('other')]);
      assert.deepEqual(
        (await reservations()).map((reservation) => [reservation.jobId, reservation.claimed]),
        [['begun', true]],
      );
      assert.equal(await semaphore.claim('begun', 1, 'a', generation), 'again');
      assert.deepEqual(await semaphore.audit(), []);
    });
    it('keeps what is claimed, and does not enter what is released, while the list is made', async () => {
      const generation = await openHost();
      await reserve('claimed');
      await reserve('released');
      await semaphore.claim('released', 1, 'a', generation);
      await semaphore.sync('a', generation, async () => {
        const list = [hold('released')];
        await semaphore.claim('claimed', 1, 'a', generation);
        await semaphore.release('released', 1);
        return list;
      });
      assert.deepEqual(
        (await reservations()).map((reservation) => [reservation.jobId, reservation.claimed]),
        [['claimed', true]],
      );
    });
    it('turns what runs into a claim', async () => {
      const generation = await openHost();
      await reserve('j');
      await semaphore.sync('a', generation, async () => [hold('j')]);
      const [held] = await reservations();
      assert.equal(held?.claimed, true);
      assert.equal(held.endsBy, 99);
      assert.equal((await host()).held, 1);
    });
    it('leaves a newer dispatch alone and names the job', async () => {
      const generation = await openHost();
      await openHost('b');
      await reserve('j', { host: 'b', epoch: 2 });
      assert.deepEqual(await semaphore.sync('a', generation, async () => [hold('j')]), ['j']);
      assert.equal((await host('b')).held, 1);
      assert.equal((await host()).held, 0);
    });
    it('is asked for again after Redis was restarted', async () => {
      const generation = await openHost();
      assert.equal(await semaphore.verify(), true);
      assert.equal(await semaphore.beat('a', generation), 'ok');
      await connection.hset(keys.server, 'run', 'another process');
      assert.equal(await semaphore.verify(), true);
      assert.equal(await semaphore.beat('a', generation), 'synchronise');
      await refused(reserve('j'), 'not_synchronised');
    });
  });

  it('counts anew after a restart, with half of a script done', async () => {
    await openHost();
    await openHost('b');
    await reserve('j');
    for (const counter of ['usedCpus', 'usedMemory', 'held'])
      await connection.hincrby(hostKey(keys, 'a'), counter, -1_000);
    await connection.hincrby(`${keys.prefix}:held:cpus`, 'nobody', 5);
    await connection.sadd(`${keys.prefix}:reservations`, 'entered-by-half', 'dropped-by-half');
    await connection.sadd(`${hostKey(keys, 'b')}:jobs`, 'dropped-by-half');
    await connection.sadd(`${keys.prefix}:hosts`, 'registered-by-half');
    await connection.sadd(`${keys.prefix}:reservations`, 'of-nobody');
    await connection.hset(reservationKey(keys, 'of-nobody'), { host: 'z', owner: 'o', cpus: 1, memory: 1 });
    assert.equal((await semaphore.audit()).length > 0, true);
    await connection.hset(keys.server, 'run', 'another process');
    assert.equal(await semaphore.verify(), true);
    assert.deepEqual(await semaphore.audit(), []);
    const { used, held } = await host();
    assert.deepEqual([used.cpusMilli, used.memoryMib, held], [1_000, 1_024, 1]);
    const { hosts, reservations } = await semaphore.view();
    assert.deepEqual(hosts.map(({ name }) => name).sort(), ['a', 'b']);
    assert.deepEqual(
      reservations.map(({ jobId }) => jobId),
      ['j'],
    );
    assert.equal(await connection.exists(reservationKey(keys, 'of-nobody')), 0);
  });

  it('says when its data are lost, and when they are lost again during the restoration', async () => {
    await connection.del(keys.server);
    assert.equal(await semaphore.verify(), false);
    await semaphore.restoring('first');
    await connection.del(keys.server);
    assert.equal(await semaphore.found('first'), false);
    await semaphore.restoring('second');
    assert.equal(await semaphore.found('second'), true);
    assert.equal(await semaphore.verify(), true);
  });

  it('an audit names every counter that is wrong', async () => {
    await openHost();
    await reserve('j');
    await connection.hincrby(hostKey(keys, 'a'), 'usedCpus', 5);
    await connection.del(reservationKey(keys, 'j'));
    const found = await semaphore.audit();
    assert.ok(found.some((sentence) => sentence.includes('a counts usedCpus 1005')));
    assert.ok(found.some((sentence) => sentence.includes('j is listed and holds no reservation')));
  });

  it('tells the latest end of a job once its command runs', async () => {
    await openHost();
    await reserve('j', { endsBy: 500 });
    await semaphore.bound('j', 1, 400);
    await semaphore.bound('j', 2, 300);
    assert.equal((await reservations())[0]?.endsBy, 400);
  });

  it('never exceeds a capacity and never drifts, for any steps in any order', async () => {
    const hostNames = fc.constantFrom('a', 'b');
    const jobIds = fc.integer({ min: 0, max: 9 }).map((number) => `j${number}`);
    const step = fc.oneof(
      fc.record({
        do: fc.constant('reserve' as const),
        jobId: jobIds,
        host: hostNames,
        cpus: fc.integer({ min: 1, max: 4 }),
        memory: fc.integer({ min: 1, max: 8 }),
        epoch: fc.integer({ min: 1, max: 3 }),
      }),
      fc.record({
        do: fc.constantFrom('claim' as const, 'release' as const, 'revoke' as const),
        jobId: jobIds,
        host: hostNames,
        epoch: fc.integer({ min: 1, max: 3 }),
      }),
      fc.record({
        do: fc.constantFrom('register' as const, 'sync' as const, 'drain' as const, 'lose' as const),
        host: hostNames,
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { maxLength: 12 }),
        async (bursts) => {
          keys = createKeys(ownPrefix());
          semaphore = new Semaphore(connection, keys);
          await semaphore.restoring('t');
          await semaphore.found('t');
          const generations = new Map([
            ['a', await openHost('a', SHARED, DISK)],
            ['b', await openHost('b', SHARED, DISK)],
          ]);
          for (let number = 0; number < 10; number += 1) await wait(`j${number}`);
          for (const burst of bursts) {
            await Promise.all(
              burst.map(async (action) => {
                const generation = generations.get(action.host) ?? 0;
                const work = async (): Promise<unknown> => {
                  switch (action.do) {
                    case 'reserve':
                      return semaphore.reserve({
                        jobId: action.jobId,
                        epoch: action.epoch,
                        host: action.host,
                        owner: `owner of ${action.jobId}`,
                        cpusMilli: action.cpus * 1_000,
                        memoryMib: action.memory * 1_024,
                        diskMib: action.memory * 700,
                        endsBy: null,
                        ticket: '',
                      });
                    case 'claim':
                      return semaphore.claim(action.jobId, action.epoch, action.host, generation);
                    case 'release':
                      return semaphore.release(action.jobId, action.epoch);
                    case 'revoke':
                      return semaphore.revoke(action.jobId, action.epoch);
                    case 'register':
                      return void generations.set(action.host, await openHost(action.host, SHARED, DISK));
                    case 'sync':
                      return semaphore.sync(action.host, generation, async () =>
                        (await semaphore.view()).reservations.filter(
                          (held) => held.host === action.host && held.claimed,
                        ),
                      );
                    case 'drain':
                      return semaphore.drain(action.host, false);
                    case 'lose':
                      return semaphore.lose(action.host, 60_000);
                  }
                };
                await work().catch((error: unknown) => {
                  if (!isRefusal(error)) throw error;
                });
              }),
            );
            const { hosts } = await semaphore.view();
            const promised = hosts.reduce((sum, { used }) => sum + (used.diskMib ?? 0), 0);
            assert.ok(promised <= SHARED.diskMib, `${promised} MiB of ${SHARED.diskMib} are promised`);
            for (const { capacity, used } of hosts) {
              assert.ok(used.cpusMilli <= capacity.cpusMilli && used.memoryMib <= capacity.memoryMib);
              assert.ok(used.cpusMilli >= 0 && used.memoryMib >= 0);
            }
            assert.deepEqual(await semaphore.audit(), []);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
