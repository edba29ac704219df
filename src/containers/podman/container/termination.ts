/**
 * SIGTERM to every process of a job, so that those that handle it can finish.
 *
 * A shell without a trap dies of it at once, its init after it, and the kernel then kills the rest in the middle
 * of their traps: in `bash t; echo` the trap of `t` would never run. And were only `t` told, the shell would go
 * on to its next command. So processes that hold others together and handle nothing are stopped before anything
 * is sent; the signal waits with them. When the last handler is gone they are continued, and die of it before
 * they run another instruction.
 */
import { readFileSync } from 'node:fs';
import { ifThere } from '../../../files/if-missing.ts';
import { isAlive, type ProcessIdentity, readStat, sendSignal } from '../../../lifecycle/process-identity.ts';
import { pause } from '../../../timing/bell.ts';

/** A process in the kernel stops when it comes out; one that does not is told with the others. */
const STOP_DEADLINE_MS = 300;
const LOOK_EVERY_MS = 20;
const SIGTERM_BIT = 1n << 14n; // signal 15

export interface Process extends ProcessIdentity {
  readonly parent: number;
  readonly handlesTerm: boolean;
  readonly stopped: boolean;
}

/** @returns null for a process that has ended, zombies included */
export function readProcess(pid: number): Process | null {
  const stat = readStat(pid);
  const status = ifThere(() => readFileSync(`/proc/${pid}/status`, 'utf8'), null, 'ESRCH');
  if (stat === null || status === null) return null;
  const { startTicks, parent, state } = stat;
  const caught = BigInt(`0x${/^SigCgt:\s+(\S+)/m.exec(status)?.[1] ?? '0'}`);
  return { pid, startTicks, parent, stopped: /^t$/i.test(state), handlesTerm: (caught & SIGTERM_BIT) !== 0n };
}

export interface TerminationPlan {
  /** To be stopped first and continued last. */
  readonly hold: readonly Process[];
  /** All that get SIGTERM, those on hold included. */
  readonly signal: readonly Process[];
  /** On whom those on hold wait. */
  readonly handlers: readonly Process[];
}

/**
 * @param processes all of the job; PID 1 of the container is the one whose parent is not among them. It gets no
 * signal: it is an init that ends with its child, and would pass the signal on a second time.
 */
export function planTermination(processes: readonly Process[]): TerminationPlan {
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const isInit = ({ parent }: Process): boolean => !byPid.has(parent);
  const signal = processes.filter((process) => !isInit(process));
  const handlers = signal.filter(({ handlesTerm }) => handlesTerm);
  const holding = new Set<number>();
  if (handlers.length > 0)
    for (const process of signal) {
      const parent = byPid.get(process.parent);
      // The init's own child: the container ends with it.
      if (parent && isInit(parent)) holding.add(process.pid);
    }
  for (const handler of handlers)
    for (let up = byPid.get(handler.parent); up && !isInit(up); up = byPid.get(up.parent))
      holding.add(up.pid);
  const hold = signal.filter(({ pid, handlesTerm }) => !handlesTerm && holding.has(pid));
  return { hold, signal: signal.length > 0 ? signal : processes, handlers };
}

/** A plan that is carried out: what was stopped is continued when the last handler is gone. */
export class Termination {
  readonly #held: readonly Process[];
  readonly #handlers: readonly Process[];
  #timer: NodeJS.Timeout | undefined;

  private constructor(held: readonly Process[], handlers: readonly Process[]) {
    this.#held = held;
    this.#handlers = handlers;
    if (!this.#finish()) this.#timer = setInterval(() => this.#finish() && this.cancel(), LOOK_EVERY_MS);
  }

  /** Resolves when every process has its signal. @param list process ids of the job, now */
  static async begin(list: () => readonly number[]): Promise<Termination> {
    const look = (): Process[] => list().flatMap((pid) => readProcess(pid) ?? []);
    const { hold } = planTermination(look());
    for (const process of hold) sendSignal(process, 'SIGSTOP');
    // Of two signals that wait, SIGTERM is delivered first: it may only be sent to what has really stopped.
    const deadline = performance.now() + STOP_DEADLINE_MS;
    while (hold.some(isRunning) && performance.now() < deadline) await pause(1);
    // Those on hold may have started something while they were being stopped.
    const { signal, handlers } = planTermination(look());
    for (const process of signal) sendSignal(process, 'SIGTERM');
    // Also those that an earlier termination, cut by a crash, left on hold.
    return new Termination(
      signal.filter(({ stopped }) => stopped),
      handlers,
    );
  }

  /** Looks no more; what is on hold stays so. */
  cancel(): void {
    clearInterval(this.#timer);
  }

  #finish(): boolean {
    if (this.#held.length > 0 && this.#handlers.some(isAlive)) return false;
    for (const process of this.#held) sendSignal(process, 'SIGCONT');
    return true;
  }
}

function isRunning(process: Process): boolean {
  const now = readProcess(process.pid);
  return now?.startTicks === process.startTicks && !now.stopped;
}
