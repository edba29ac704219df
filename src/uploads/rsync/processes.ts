/** Processes of this machine as /proc shows them, to end exactly those that write into a tree. */
import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { ifThere } from '../../files/if-missing.ts';
import {
  identify,
  isAlive,
  isSame,
  type ProcessIdentity,
  readStat,
  sendSignal,
} from '../../lifecycle/process-identity.ts';
import { inBatches } from '../../trees/in-batches.ts';

const POLITE_MS = 1_000;
const POLL_MS = 20;
/** Looks at those that were found, between two searches. */
const ROUNDS = 25;

/**
 * The process if it lives, and all that descends from it. Costs a few reads for each of them, however many processes
 * there are on this machine.
 */
export function family(first: ProcessIdentity | null): ProcessIdentity[] {
  const stat = first && readStat(first.pid);
  if (!stat || !isSame(stat, first)) return [];
  const found = new Map([[stat.pid, stat]]);
  // A map is walked through what is put into it meanwhile.
  for (const pid of found.keys()) {
    for (const child of childrenOf(pid)) {
      const childStat = readStat(child);
      // The pid may be another process's by now.
      if (childStat?.parent === pid) found.set(child, childStat);
    }
  }
  return [...found.values()].map(({ pid, startTicks }) => ({ pid, startTicks }));
}

/** Of a process with one thread, as rsync and the gate are. */
const childrenOf = (pid: number): number[] =>
  ifThere(() => readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1'), '', 'ESRCH')
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);

/** Every program called `name` that works in `directory` or below it. Looks at all processes of the machine. */
export async function workingBelow(directory: string, name: string): Promise<ProcessIdentity[]> {
  const found: ProcessIdentity[] = [];
  await inBatches(await readdir('/proc'), async (entry) => {
    if (!/^\d+$/.test(entry)) return;
    try {
      if ((await readFile(`/proc/${entry}/comm`, 'utf8')).trimEnd() !== name) return;
      const place = await readlink(`/proc/${entry}/cwd`);
      if (place !== directory && !place.startsWith(`${directory}/`)) return;
    } catch {
      return; // it has ended, or belongs to somebody else, who can't write here
    }
    const identity = identify(Number(entry));
    if (identity) found.push(identity);
  });
  return found;
}

/** Ends them, and those that join them meanwhile, by their ids; when it returns `find` finds none. */
export async function endAll(find: () => ProcessIdentity[] | Promise<ProcessIdentity[]>): Promise<void> {
  const since = performance.now();
  const told = new Set<string>();
  for (;;) {
    const left = await find();
    if (left.length === 0) return;
    const waitedMs = performance.now() - since;
    if (waitedMs > 10_000) {
      throw new Error(`processes do not end: ${left.map(({ pid }) => pid).join(', ')}`);
    }
    for (const process of left) {
      const key = `${process.pid} ${process.startTicks}`;
      // First a signal at which rsync clears its temporary files away.
      if (waitedMs > POLITE_MS) sendSignal(process, 'SIGKILL');
      else if (!told.has(key)) sendSignal(process, 'SIGTERM');
      told.add(key);
    }
    // To find them may be dear; to see that they live is not.
    for (let round = 0; round < ROUNDS && left.some(isAlive); round++) await delay(POLL_MS);
  }
}

/** Bytes that processes have handed to the kernel to write. */
export function bytesWrittenBy(processes: readonly ProcessIdentity[]): number {
  let sum = 0;
  for (const { pid } of processes) {
    try {
      sum += Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? 0);
    } catch {
      // it has ended
    }
  }
  return sum;
}
