/** Guards of the worker, its recovery, its runtime and of what it owns of the semaphore. */
import type { Guard } from './guard.ts';

const HOSTS = 'test/faults/hosts.test.ts';
const SUPERVISION = 'test/processors/supervision.test.ts';
const SEMAPHORE = 'test/queues/semaphore.test.ts';

export const HOST_GUARDS: readonly Guard[] = [
  {
    name: 'generation: a worker whose host name a newer one owns changes nothing',
    file: 'queues/semaphore/includes/host.lua',
    find: '  if tonumber(owner) > tonumber(generation) then return FENCED end\n',
    replace: '',
    spec: SEMAPHORE,
    test: 'refuses an older process of the host',
  },
  {
    name: 'lock of the host name: a predecessor that sleeps is ended before its successor looks at a container',
    file: 'src/lifecycle/process-lock.ts',
    find: "    const release = tryLock(join(directory, 'owner.lock'));\n",
    replace: '    const release = (): void => void tryLock;\n',
    spec: 'test/faults/host-name.test.ts',
    test: 'never starts it when it is continued after its successor has run the job',
  },
  {
    name: 'claim: what was taken back is not started',
    file: 'processors/job-run.ts',
    find: "      if (claimed === 'no_reservation' || claimed === 'fenced') return { kind: 'void', why: claimed };\n",
    replace: '',
    spec: HOSTS,
    test: 'a dispatch whose reservation was taken back before the claim goes back to the queue',
  },
  {
    name: 'journal before start: what was created and is gone is not run again',
    file: 'processors/stages/prepare.ts',
    find: "  await journal.write({ jobId: job.id, epoch: job.epoch, phase: 'created', bootId });\n",
    replace: '  void [journal, bootId];\n',
    spec: HOSTS,
    test: 'a container that somebody removed while its worker was dead is not run a second time',
  },
  {
    name: 'fence of the row: an older dispatch writes nothing',
    file: 'src/database/job-store.ts',
    find: "          if (transition.epoch !== undefined) void query.where('epoch', transition.epoch);\n",
    replace: '',
    spec: 'test/database/job-store.test.ts',
    test: 'refuses a transition of an older dispatch',
  },
  {
    name: 'first reason: why a job ends is decided once',
    file: 'src/database/job-store.ts',
    find: "        .where({ id })\n        .whereNull('ending_reason')\n",
    replace: '        .where({ id })\n',
    spec: 'test/database/job-store.test.ts',
    test: 'keeps the first reason why a job ends',
  },
  {
    name: 'boot: an exit that the machine took with it is no success',
    file: 'processors/recovery.ts',
    find: "      return container.finishedAt === null && (rebooted || journal === null) ? lost : { do: 'settle' };\n",
    replace: "      return { do: 'settle' };\n",
    spec: HOSTS,
    test: 'after a reboot `Exited (0)` without an end is lost, and an exit that was seen counts',
  },
  {
    name: 'not its own: a host that comes back kills first what is no longer its own',
    file: 'processors/supervisor.ts',
    find: '      if (!wanted.has(id) && !this.held().has(id)) await this.#discard(name, parsed.jobId, parsed.epoch);\n',
    replace: '      void [wanted, id];\n',
    spec: HOSTS,
    test: 'a worker that starts kills what is no longer its own before it takes anything new',
  },
  {
    name: 'clock: a row from the future is looked after at once',
    file: 'processors/supervisor.ts',
    find: '        if (ageMs >= 0 && ageMs < settledMs) continue;\n',
    replace: '        if (ageMs < settledMs) continue;\n',
    spec: 'test/faults/clock.test.ts',
    test: 'changes nothing for jobs that run, wait, or were left behind by a crash',
  },
  {
    name: "uptime: a job's minutes are not counted by a clock that can be set",
    file: 'processors/job-run.ts',
    find: '      journal?.startedUptimeMs !== undefined && journal.bootId === this.#r.bootId\n',
    replace: '      journal?.startedUptimeMs !== undefined && journal.bootId !== this.#r.bootId\n',
    spec: 'test/faults/clock.test.ts',
    test: 'changes nothing for jobs that run, wait, or were left behind by a crash',
  },
  {
    name: 'cancelled first: a job whose end is decided never shows `running`',
    file: 'processors/job-run.ts',
    find: "        to: 'running',\n        epoch: this.#job.epoch,\n        endingReason: null,\n",
    replace: "        to: 'running',\n        epoch: this.#job.epoch,\n",
    spec: 'test/faults/endings.test.ts',
    test: 'when its container has just been started, never shows `running`',
  },
  {
    name: 'gone before released: the reservation goes when the container has gone',
    file: 'processors/job-run.ts',
    find: "    await this.#ask('removing the container', () => this.#r.inTurn(() => this.#r.runtime.remove(this.#name)));\n    this.#release();\n    const collected",
    replace:
      "    this.#release();\n    await this.#ask('removing the container', () => this.#r.inTurn(() => this.#r.runtime.remove(this.#name)));\n    const collected",
    spec: HOSTS,
    test: 'a reservation is held until the container is gone',
  },
  {
    name: 'answer lost: Podman is asked again and not taken for a failed start',
    file: 'processors/persist.ts',
    find: '      if (!silent || stop.aborted) throw error;\n',
    replace: '      if (silent || stop.aborted) throw error;\n',
    spec: SUPERVISION,
    test: 'goes on when Podman did not answer though it did what was asked: create',
  },
];
