/**
 * A lock on a directory that ends with the process that holds it, however it ends: a lock of the kernel on a file,
 * taken through SQLite. A process that is stopped (SIGSTOP) keeps it, and whoever has to have it knows whom to end.
 */
import { mkdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { systemCode } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { identify, isAlive, isStopped, parseProcessId, type ProcessId } from './process-id.ts';

export interface ProcessLock {
  /** May be called twice. */
  release(): void;
}

export interface ProcessLockOptions {
  readonly directory: string;
  /** How long a holder that can act is waited for before it is killed, ms. One that is stopped is killed at once. */
  readonly patienceMs: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** The lock is held by somebody whom this process can't end. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld';
}

/** A pid means a process in one pid namespace of one boot only. */
interface Holder extends ProcessId {
  readonly place: string;
}

const LOOK_EVERY_MS = 20;
/** Beyond the patience, for a holder that was killed to be gone, or that nobody can name. */
const LAST_WAIT_MS = 10_000;

/**
 * Waits for the holder to let go, and ends it with SIGKILL if it does not.
 * @throws LockHeld, the reason of `signal`
 */
export async function takeProcessLock(options: ProcessLockOptions): Promise<ProcessLock> {
  const { directory, patienceMs, logger, signal } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const record = join(directory, 'owner.json');
  const since = performance.now();
  let ended: string | null = null;
  for (;;) {
    signal.throwIfAborted();
    // guard: host-name-lock
    const release = tryLock(join(directory, 'owner.lock'));
    if (release) {
      writeRecord(record);
      return { release };
    }
    const waitedMs = performance.now() - since;
    const holder = readRecord(record);
    if (holder && ended !== holder.startTime && (isStopped(holder) || waitedMs > patienceMs)) {
      logger.warn({ pid: holder.pid, directory }, 'a process that does not let go of this lock is killed');
      kill(holder, directory);
      ended = holder.startTime;
    }
    if (waitedMs > patienceMs + LAST_WAIT_MS)
      throw new LockHeld(
        `${directory} is held by another process that does not let go${holder ? ` (pid ${holder.pid})` : ''}; end that one first`,
      );
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** @returns what gives it back, or null when another holds it */
function tryLock(file: string): (() => void) | null {
  const database = new Database(file, { timeout: 0 });
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (systemCode(error)?.startsWith('SQLITE_BUSY')) return null;
    throw error;
  }
  return () => void database.close();
}

/** @returns null for one that is not alive, or not where this process could name it */
function readRecord(file: string): Holder | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    const holder = parseProcessId(value);
    const place = typeof value === 'object' && value !== null && 'place' in value ? value.place : null;
    return holder && place === ownPlace() && isAlive(holder) ? { ...holder, place } : null;
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

function writeRecord(file: string): void {
  const self = identify(process.pid);
  if (!self) throw new Error('this process is not in /proc');
  const draft = `${file}.new`;
  writeFileSync(draft, `${JSON.stringify({ ...self, place: ownPlace() })}\n`, { mode: 0o600 });
  renameSync(draft, file);
}

/** Boot and pid namespace. */
export const ownPlace = (): string =>
  `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync('/proc/self/ns/pid')}`;

function kill(holder: Holder, directory: string): void {
  if (holder.pid === process.pid) throw new Error(`this process holds ${directory} already`);
  try {
    process.kill(holder.pid, 'SIGKILL');
  } catch (cause) {
    if (systemCode(cause) === 'ESRCH') return;
    throw new LockHeld(
      `${directory} is held by process ${holder.pid}, which this user may not end; end it first`,
      {
        cause,
      },
    );
  }
}
