/**
 * A lock that ends with the process that holds it, however it ends: a lock of the kernel on `<path>.lock`, taken
 * through SQLite. `<path>.json` names the holder. A process that is stopped (SIGSTOP) keeps its lock; who has to have
 * it knows whom to end.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { systemCode } from '../errors.ts';
import {
  fromRecord,
  identifySelf,
  isAlive,
  isStopped,
  type ProcessIdentity,
  sendSignal,
  toRecord,
} from '../lifecycle/process-identity.ts';
import type { Logger } from '../observability/logger.ts';
import { pause } from '../timing/bell.ts';
import { readJsonFile, writeJsonFile } from './json-file.ts';

export interface Lock {
  /** May be called twice. */
  release(): void;
}

export interface TakeLockOptions {
  /** How long a holder that can act is waited for before it is killed, ms. One that is stopped is killed at once. */
  readonly patienceMs: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

export class LockHeld extends Error {
  override readonly name = 'LockHeld';
  /** Null for one that this process can't name: it lives in another pid namespace, or has taken the lock just now. */
  readonly holder: ProcessIdentity | null;

  constructor(path: string, holder: ProcessIdentity | null, options?: ErrorOptions) {
    super(`${dirname(path)} is held by another process${holder ? ` (pid ${holder.pid})` : ''}`, options);
    this.holder = holder;
  }
}

const LOOK_EVERY_MS = 20;
/** Beyond the patience, for a holder that was killed to be gone, or that nobody can name. */
const LAST_WAIT_MS = 10_000;

/** Kept here: the lock of a connection that nobody refers to ends with the next garbage collection. */
const HELD = new Set<Lock>();

/** Takes it at once, or not at all. @throws LockHeld */
export function takeLock(path: string): Lock {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  // guard: host-name-lock
  const release = lockFile(`${path}.lock`);
  if (!release) throw new LockHeld(path, holderOf(path));
  const record = `${path}.json`;
  writeJsonFile(record, toRecord(identifySelf(), dirname(path)));
  const lock = {
    release() {
      if (!HELD.delete(lock)) return;
      rmSync(record, { force: true });
      release();
    },
  };
  HELD.add(lock);
  return lock;
}

/**
 * Waits for the holder to let go, and ends it with SIGKILL if it does not.
 * @throws LockHeld when this process can't end it, the reason of `signal`
 */
export async function wrestLock(path: string, options: TakeLockOptions): Promise<Lock> {
  const { patienceMs, logger, signal } = options;
  const since = performance.now();
  let ended: string | null = null;
  for (;;) {
    signal.throwIfAborted();
    try {
      return takeLock(path);
    } catch (error) {
      if (!(error instanceof LockHeld)) throw error;
      const { holder } = error;
      const waitedMs = performance.now() - since;
      if (holder && ended !== holder.startTicks && (isStopped(holder) || waitedMs > patienceMs)) {
        logger.warn({ pid: holder.pid, path }, 'a process that does not let go of this lock is killed');
        kill(path, holder);
        ended = holder.startTicks;
      }
      if (waitedMs > patienceMs + LAST_WAIT_MS) throw error;
    }
    await pause(LOOK_EVERY_MS, signal);
  }
}

/** @returns what gives it back, or null when another holds it */
function lockFile(file: string): (() => void) | null {
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

function holderOf(path: string): ProcessIdentity | null {
  const holder = fromRecord(readJsonFile(`${path}.json`), dirname(path));
  return holder && isAlive(holder) ? holder : null;
}

function kill(path: string, holder: ProcessIdentity): void {
  if (holder.pid === process.pid) throw new Error(`this process holds ${path} already`);
  try {
    sendSignal(holder, 'SIGKILL');
  } catch (cause) {
    throw new LockHeld(path, holder, { cause });
  }
}
