/** Guards of the worker, its recovery, its runtime and of what it owns of the semaphore. */
import type { Guard } from './guard.ts';

const HOSTS = 'test/faults/hosts.test.ts';
const SUPERVISION = 'test/processors/supervision.test.ts';
const SEMAPHORE = 'test/queues/semaphore.test.ts';

export const HOST_GUARDS: readonly Guard[] = [
  {
    marker: 'host-generation',
    promise: 'generation: a worker whose host name a newer one owns changes nothing',
    spec: SEMAPHORE,
    test: 'refuses an older process of the host',
  },
  {
    marker: 'host-name-lock',
    promise:
      'lock of the host name: a predecessor that sleeps is ended before its successor looks at a container',
    without: 'const release = (): void => void lockFile;',
    spec: 'test/faults/host-name.test.ts',
    test: 'never starts it when it is continued after its successor has run the job',
  },
  {
    marker: 'claim-before-start',
    promise: 'claim: what was taken back is not started',
    spec: HOSTS,
    test: 'a dispatch whose reservation was taken back before the claim goes back to the queue',
  },
  {
    marker: 'claim-of-the-dead',
    promise: 'claim: one that a dead worker made stays, though nothing came of it yet',
    without: "listed[hold.jobId] = hold.found == '1'",
    spec: SEMAPHORE,
    test: 'keeps a claim of which nothing was found yet, and enters none',
  },
  {
    marker: 'recorded-before-start',
    promise: 'recorded before start: what was created and is gone is not run again',
    without: 'void [records, bootId];',
    spec: HOSTS,
    test: 'a container that somebody removed while its worker was dead is not run a second time',
  },
  {
    marker: 'row-fence',
    promise: 'fence of the row: an older dispatch writes nothing',
    spec: 'test/database/job-store.test.ts',
    test: 'refuses a transition of an older dispatch',
  },
  {
    marker: 'first-reason',
    promise: 'first reason: why a job ends is decided once',
    spec: 'test/database/job-store.test.ts',
    test: 'keeps the first reason why a job ends',
  },
  {
    marker: 'exit-before-reboot',
    promise: 'boot: an exit that the machine took with it is no success',
    without: "return { do: 'settle' };",
    spec: HOSTS,
    test: 'after a reboot `Exited (0)` without an end is lost, and an exit that was seen counts',
  },
  {
    marker: 'foreign-is-ended',
    promise: 'not its own: a host that comes back kills first what is no longer its own',
    without: 'void discarded;',
    spec: HOSTS,
    test: 'a worker that starts kills what is no longer its own before it takes anything new',
  },
  {
    marker: 'foreign-ends-first',
    promise: 'not its own: a host that comes back takes nothing new while what it has lost still runs',
    without: 'void endsForeign;',
    spec: HOSTS,
    test: 'a host away past the time when it counts as lost kills what is no longer its own before it takes anything new',
  },
  {
    marker: 'look-before-start',
    promise: 'given up: a process that slept starts nothing that was lost meanwhile',
    spec: HOSTS,
    test: 'a job that was given up with its host while it started there never begins',
  },
  {
    marker: 'row-from-the-future',
    promise: 'clock: a row from the future is looked after at once',
    without: 'if (ageMs < settledMs) continue;',
    spec: 'test/faults/clock.test.ts',
    test: 'changes nothing for jobs that run, wait, or were left behind by a crash',
  },
  {
    marker: 'uptime',
    promise: "uptime: a job's minutes are not counted by a clock that can be set",
    without: 'Date.now() - (job.startedAt ?? startedAt ?? Date.now());',
    spec: 'test/faults/clock.test.ts',
    test: 'changes nothing for jobs that run, wait, or were left behind by a crash',
  },
  {
    marker: 'cancelled-first',
    promise: 'cancelled first: a job whose end is decided never shows `running`',
    spec: 'test/faults/endings.test.ts',
    test: 'when its container has just been started, never shows `running`',
  },
  {
    marker: 'gone-before-released',
    promise: 'gone before released: the reservation goes when the container has gone',
    without: (removal) => `this.#release();\n${removal}`,
    spec: HOSTS,
    test: 'a reservation is held until the container is gone',
  },
  {
    marker: 'answer-lost',
    promise: 'answer lost: Podman is asked again and not taken for a failed start',
    without: 'again: () => false,',
    spec: SUPERVISION,
    test: 'goes on when Podman did not answer though it did what was asked: create',
  },
];
