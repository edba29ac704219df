/** Guards of dispatcher, semaphore, queue and what looks after them. */
import type { Guard } from './guard.ts';

const DISPATCHERS = 'test/faults/dispatchers.test.ts';
const DISPATCHER = 'test/queues/dispatcher.test.ts';
const SEMAPHORE = 'test/queues/semaphore.test.ts';
const INTAKE = 'test/queues/intake.test.ts';
const CONSUMER = 'test/queues/host-consumer.test.ts';

export const QUEUE_GUARDS: readonly Guard[] = [
  {
    marker: 'taken-while-waiting',
    promise: 'fence: a row is dispatched only while it waits',
    spec: 'test/database/job-store.test.ts',
    test: 'lets exactly one of two rivals make a transition',
  },
  {
    marker: 'taken-under-epoch',
    promise: 'fence: a row is dispatched only under the epoch that the dispatcher saw',
    spec: DISPATCHER,
    test: 'gives no epoch twice',
  },
  {
    marker: 'withdrawn-before-handed-over',
    promise: 'order: out of the queue before the host can have it',
    without: (withdrawal) => `await this.#handOver(dispatch, again);\n${withdrawal}`,
    spec: DISPATCHERS,
    test: 'takes every step of a dispatch in its order',
  },
  {
    marker: 'reserved-before-taken',
    promise: 'order: capacity is reserved before the row is taken',
    without: (reservation) => `await this.#take(candidate, start.host, null);\n${reservation}`,
    spec: DISPATCHERS,
    test: 'takes every step of a dispatch in its order',
  },
  {
    marker: 'claim-of-this-dispatch',
    promise: 'claim: only of what is reserved for this dispatch and host',
    spec: SEMAPHORE,
    test: 'refuses what was taken back, another epoch and another host',
  },
  {
    marker: 'claimed-stays',
    promise: 'claim: nobody takes back what a host has claimed',
    spec: SEMAPHORE,
    test: 'is the point of no return',
  },
  {
    marker: 'ticket',
    promise: 'ticket: a dispatcher that was overtaken takes nobody else’s reservation back',
    spec: SEMAPHORE,
    test: 'leave another dispatch of the job alone',
  },
  {
    marker: 'fits-capacity',
    promise: 'capacity: what does not fit is refused where it is entered',
    spec: SEMAPHORE,
    test: 'lets four of twenty at the same moment onto a host for four',
  },
  {
    marker: 'fits-disk',
    promise: 'capacity: no more disk is promised than there is',
    spec: SEMAPHORE,
    test: 'refuses what does not fit on the disk, and measures anew',
  },
  {
    marker: 'held-by-nobody',
    promise: 'what an ended job has written is nobody’s to have',
    spec: SEMAPHORE,
    test: 'promises what a job has written to nobody else',
  },
  {
    marker: 'written-stays',
    promise: 'what an ended job has written is promised to nobody before it is measured',
    spec: SEMAPHORE,
    test: 'promises what a job has written to nobody else',
  },
  {
    marker: 'shared-disk',
    promise: 'two hosts on one file system promise its disk once',
    spec: SEMAPHORE,
    test: 'promises a disk once that two hosts share',
  },
  {
    marker: 'one-reservation',
    promise: 'one reservation a job',
    spec: SEMAPHORE,
    test: 'refuses a second reservation of one job',
  },
  {
    marker: 'still-waiting',
    promise: 'nothing is reserved for a job that has left the queue',
    spec: SEMAPHORE,
    test: 'refuses a job that has left the queue',
  },
  {
    marker: 'lease',
    promise: 'lease: a silent host gets nothing',
    spec: SEMAPHORE,
    test: 'refuses a host whose lease has ended',
  },
  {
    marker: 'synchronised-before-dispatch',
    promise: 'synchronisation before dispatch: a host gets nothing before it has said what it holds',
    spec: SEMAPHORE,
    test: 'refuses a host that has not synchronised',
  },
  {
    marker: 'synchronised-after-restart',
    promise: 'synchronisation after a restart of Redis',
    spec: SEMAPHORE,
    test: 'is asked for again after Redis was restarted',
  },
  {
    marker: 'recount',
    promise: 'sums are counted anew after a restart of Redis',
    spec: SEMAPHORE,
    test: 'counts anew after a restart, whatever half of a script left',
  },
  {
    marker: 'released-meanwhile',
    promise: 'synchronisation does not enter again what was released meanwhile',
    without: 'local released = false',
    spec: SEMAPHORE,
    test: 'keeps what is claimed, and does not enter what is released, while the list is made',
  },
  {
    marker: 'claimed-meanwhile',
    promise: 'synchronisation keeps what was claimed while the list was made',
    without: "if not listed[jobId] and held[1] == '1' then drop(jobId) end",
    spec: SEMAPHORE,
    test: 'keeps what is claimed, and does not enter what is released, while the list is made',
  },
  {
    marker: 'data-lost',
    promise: 'nonce: nothing is dispatched by a Redis that has lost its data',
    spec: SEMAPHORE,
    test: 'refuses while Redis has lost its data',
  },
  {
    marker: 'restoration-overtaken',
    promise: 'nonce: a restoration that was overtaken by the next loss declares nothing',
    spec: SEMAPHORE,
    test: 'says when its data are lost, and when they are lost again during the restoration',
  },
  {
    marker: 'restoration-waits',
    promise: 'restoration: dispatch waits for the hosts',
    spec: 'test/queues/dispatcher-outages.test.ts',
    test: 'lost its data, waits for the hosts and starts jobs in their old order',
  },
  {
    marker: 'newest-epoch',
    promise: 'epoch in the queue: an older entry never replaces a newer one',
    spec: INTAKE,
    test: 'keeps the newest epoch of a job',
  },
  {
    marker: 'unsynchronised-host',
    promise: 'sweeper: concludes nothing from a host that has not synchronised',
    without: 'if (host) await this.#finish(reservation, host);',
    spec: DISPATCHERS,
    test: 'whose claims a restarted Redis may have lost',
  },
  {
    marker: 'half-done-dispatch',
    promise: 'sweeper: finishes what a dispatcher left between two steps',
    without: 'if (own && host.leaseLive) return;',
    spec: 'test/queues/dispatcher-crashes.test.ts',
    test: 'after the compare-and-set',
  },
  {
    marker: 'heard-out',
    promise: 'sweeper: takes no host for lost that could not be heard',
    without: 'const silent = view.now - host.beatAt > this.#o.hostLostMs;',
    spec: DISPATCHERS,
    test: 'do not take a host for lost that could not be heard while Redis was away',
  },
  {
    marker: 'lead-time',
    promise: 'clock: a leader that died before the clock was set back leads no longer than its time',
    spec: DISPATCHERS,
    test: 'whose clock is an hour behind that of the rows',
  },
  {
    marker: 'queued-from-the-future',
    promise: 'clock: a row from the future is queued all the same',
    without: 'const settled = jobs.filter((job) => now - job.createdAt > SETTLED_MS);',
    spec: DISPATCHERS,
    test: 'whose clock is an hour behind that of the rows',
  },
  {
    marker: 'reserved-in-the-future',
    promise: 'clock: a reservation from the future is looked after',
    without: 'if (reservation.claimed || ageMs < LEFT_BEHIND_MS) continue;',
    spec: DISPATCHERS,
    test: 'whose clock is an hour behind that of the rows',
  },
  {
    marker: 'second-pickup',
    promise: 'join: a second pickup of a dispatch starts nothing',
    spec: CONSUMER,
    test: 'joins a second pickup of the same dispatch',
  },
  {
    marker: 'late-pickup',
    promise: 'join: a pickup just after the end answers with the outcome',
    spec: CONSUMER,
    test: 'answers a second pickup that comes after the end with the first outcome',
  },
  {
    marker: 'canary',
    promise: 'canary: a queue worker that has stopped fetching is replaced',
    spec: CONSUMER,
    test: 'replaces a queue worker that has stopped fetching, and keeps what it holds',
  },
  {
    marker: 'damaged-log',
    promise: 'append-only file: a damaged one is refused with advice',
    spec: 'test/faults/redis.test.ts',
    test: 'refuses an append-only file that is damaged in the middle',
  },
  {
    marker: 'half-script',
    promise: 'append-only file: no half of a script stays in it',
    spec: 'test/queues/append-only-log.test.ts',
    test: 'holds no half of a script once it is renewed after a start that cut it off',
  },
  {
    marker: 'one-key-one-job',
    promise: 'submission: one key, one job',
    spec: 'test/faults/pairs.test.ts',
    test: 'a job that is made at both with one key is one job',
  },
  {
    marker: 'half-made',
    promise: 'Podman: a container that its service died over is made anew',
    without: 'throw error;',
    spec: 'test/containers/half-made.test.ts',
    test: 'is made anew and started once',
  },
];
