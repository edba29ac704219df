/**
 * Which process is meant. A pid alone may be another process's by now; with the time of its start it is unique in one
 * pid space: one pid namespace of one boot.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { systemCode } from '../errors.ts';
import { readBootId } from '../files/boot.ts';
import { isPlaceOf, placeOf } from '../files/place.ts';

/** A process of this process's own pid space. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it was started, in clock ticks since boot. */
  readonly startTicks: string;
}

/**
 * What a file keeps of a process. Who reads it may live in another pid space, where the pid means nothing, or may read a
 * copy of the file, where it means a process of the installation that was copied.
 */
export interface ProcessRecord extends ProcessIdentity {
  readonly pidSpace: string;
  /** {@link placeOf} the directory that the record was written into. */
  readonly place: string;
}

export interface ProcessStat extends ProcessIdentity {
  /** A letter, as in proc_pid_stat(5). */
  readonly state: string;
  readonly parent: number;
}

/** @returns null when there is no such process, or only its remains */
export function readStat(pid: number): ProcessStat | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    // ESRCH when it ends while it is read; the others where /proc hides the processes of other users (hidepid).
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) return null;
    throw error;
  }
  // The second field is the program's name, which may hold spaces and parentheses.
  const [state = 'X', parent, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const startTicks = fields[17];
  if (state === 'Z' || state === 'X' || startTicks === undefined) return null;
  return { pid, startTicks, state, parent: Number(parent) };
}

/** @returns null when there is no such process, or only its remains */
export function identify(pid: number): ProcessIdentity | null {
  const stat = readStat(pid);
  return stat && { pid, startTicks: stat.startTicks };
}

/** @throws Error when /proc is not that of this process's pid namespace */
export function identifySelf(): ProcessIdentity {
  const self = identify(process.pid);
  if (!self) throw new Error('this process is not in /proc');
  return self;
}

export const isSame = (one: ProcessIdentity | null, other: ProcessIdentity | null): boolean =>
  one !== null && one.pid === other?.pid && one.startTicks === other.startTicks;

export const isAlive = (identity: ProcessIdentity): boolean => isSame(readStat(identity.pid), identity);

/** Alive, and stopped by a signal: it does nothing until it is continued. */
export function isStopped(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return isSame(stat, identity) && stat?.state === 'T';
}

/** Sends a signal to this very process; does nothing when it has ended. @throws Error EPERM */
export function sendSignal(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

let ownSpace: string | undefined;

/** Boot and pid namespace of this process. */
export const ownPidSpace = (): string =>
  (ownSpace ??= `${readBootId()} ${readlinkSync('/proc/self/ns/pid')}`);

/** @param directory in which the record is kept; it must be there */
export const toRecord = ({ pid, startTicks }: ProcessIdentity, directory: string): ProcessRecord => ({
  pid,
  startTicks,
  pidSpace: ownPidSpace(),
  place: placeOf(directory) ?? '',
});

/**
 * @param directory in which the record was found
 * @returns null for what is no such record, for one of another pid space, and for one that was copied here
 */
export function fromRecord(value: unknown, directory: string): ProcessIdentity | null {
  const read = readRecord(value);
  return read !== null && isPlaceOf(read.place, directory) ? read.process : null;
}

/** The living process that a record names which was copied here with its directory. @returns null without one */
export function livingOriginal(value: unknown, directory: string): ProcessIdentity | null {
  const read = readRecord(value);
  return read !== null && !isPlaceOf(read.place, directory) && isAlive(read.process) ? read.process : null;
}

/** Of this pid space. */
function readRecord(value: unknown): { readonly process: ProcessIdentity; readonly place: unknown } | null {
  const fields = typeof value === 'object' && value !== null ? value : {};
  if (!('pid' in fields) || !('startTicks' in fields) || !('pidSpace' in fields)) return null;
  const { pid, startTicks, pidSpace } = fields;
  return typeof pid === 'number' &&
    Number.isSafeInteger(pid) &&
    pid > 0 &&
    typeof startTicks === 'string' &&
    pidSpace === ownPidSpace()
    ? { process: { pid, startTicks }, place: 'place' in fields ? fields.place : null }
    : null;
}
