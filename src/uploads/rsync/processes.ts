/** Processes of this machine as /proc shows them, to end exactly those that write into a tree. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  isSame,
  type ProcessIdentity,
  type ProcessStat,
  readStat,
  sendSignal,
} from '../../lifecycle/process-identity.ts';

const POLITE_MS = 1_000;
const POLL_MS = 20;

/** The process if it lives, all that descends from it, and every program called `name` that works below `directory`. */
export function family(first: ProcessIdentity | null, directory: string, name: string): ProcessIdentity[] {
  const all = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => readStat(Number(entry)))
    .filter((stat) => stat !== null);
  const found = new Map<number, ProcessStat>();
  for (const stat of all) {
    if (isSame(stat, first) || worksBelow(stat.pid, directory, name)) found.set(stat.pid, stat);
  }
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const stat of all) if (found.has(stat.parent)) found.set(stat.pid, stat);
  }
  return [...found.values()].map(({ pid, startTicks }) => ({ pid, startTicks }));
}

function worksBelow(pid: number, directory: string, name: string): boolean {
  try {
    if (readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd() !== name) return false;
    const place = readlinkSync(`/proc/${pid}/cwd`);
    return place === directory || place.startsWith(`${directory}/`);
  } catch {
    return false; // it has ended, or belongs to somebody else, who can't write here
  }
}

/** Ends them, and whoever joins them meanwhile, by their ids; when it returns `find` finds none. */
export async function endAll(find: () => ProcessIdentity[]): Promise<void> {
  const since = performance.now();
  const told = new Set<string>();
  for (;;) {
    const left = find();
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
    await delay(POLL_MS);
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
