/** A pid alone may belong to another process by now; with its start time it is unique until the machine reboots. */
import { readFileSync } from 'node:fs';

export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot. */
  readonly startTime: string;
}

/** @returns null when there is no such process, or only its remains */
export function identify(pid: number): ProcessId | null {
  const stat = statOf(pid);
  return stat === null || stat.state === 'Z' ? null : { pid, startTime: stat.startTime };
}

export const isAlive = ({ pid, startTime }: ProcessId): boolean => identify(pid)?.startTime === startTime;

/** Alive, and stopped by a signal: it does nothing until it is continued. */
export function isStopped({ pid, startTime }: ProcessId): boolean {
  const stat = statOf(pid);
  return stat?.startTime === startTime && stat.state === 'T';
}

function statOf(pid: number): { readonly state: string; readonly startTime: string } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name, which may hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    const startTime = fields[19];
    return state === undefined || startTime === undefined ? null : { state, startTime };
  } catch {
    return null; // ENOENT, or ESRCH when it ends while it is read
  }
}

/** @returns null for what is no such record */
export function parseProcessId(value: unknown): ProcessId | null {
  const fields = typeof value === 'object' && value !== null ? value : {};
  if (!('pid' in fields) || !('startTime' in fields)) return null;
  const { pid, startTime } = fields;
  return typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0 && typeof startTime === 'string'
    ? { pid, startTime }
    : null;
}
