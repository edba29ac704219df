/** Children of an `up` that was killed: they notice it and stop by themselves; a successor waits for that. */
import { join } from 'node:path';
import { readJsonFile, writeJsonFile } from '../src/files/json-file.ts';
import {
  fromRecord,
  identify,
  isAlive,
  type ProcessIdentity,
  type ProcessRecord,
  sendSignal,
  toRecord,
} from '../src/lifecycle/process-identity.ts';
import type { Logger } from '../src/observability/logger.ts';
import { pause } from '../src/timing/bell.ts';

const PATIENCE_MS = 15_000;
const POLL_MS = 25;

/** The file that names the children of the `up` of one run directory. */
export class ChildRecord {
  readonly #directory: string;
  readonly #file: string;
  readonly #children = new Map<string, ProcessRecord>();

  constructor(runPath: string) {
    this.#directory = runPath;
    this.#file = join(runPath, 'children.json');
  }

  set(name: string, pid: number): void {
    const child = identify(pid);
    if (!child) return; // it has ended already
    this.#children.set(name, toRecord(child, this.#directory));
    writeJsonFile(this.#file, Object.fromEntries(this.#children));
  }

  /** Returns when no child of a predecessor lives any more. */
  async clear(logger: Logger): Promise<void> {
    const left = this.#read().filter(isAlive);
    if (left.length === 0) return;
    const pids = left.map(({ pid }) => pid);
    logger.info({ pids }, 'waiting for the end of processes that an earlier `up` left');
    const deadline = performance.now() + PATIENCE_MS;
    while (left.some(isAlive)) {
      if (performance.now() > deadline) {
        logger.warn({ pids }, 'they have not ended; killing them');
        for (const child of left) sendSignal(child, 'SIGKILL');
      }
      await pause(POLL_MS);
    }
  }

  #read(): ProcessIdentity[] {
    const value = readJsonFile(this.#file);
    const children = typeof value === 'object' && value !== null ? Object.values(value) : [];
    return children.map((child) => fromRecord(child, this.#directory)).filter((child) => child !== null);
  }
}
