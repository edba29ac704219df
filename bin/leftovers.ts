/** Children of an `up` that was killed: they notice it and stop by themselves; a successor waits for that. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../src/errors.ts';
import type { Logger } from '../src/observability/logger.ts';
import { identify, isAlive, parseProcessId, type ProcessId } from '../src/lifecycle/process-id.ts';

const PATIENCE_MS = 15_000;
const POLL_MS = 25;

/** The file that names the children of the `up` of one run directory. */
export class ChildRecord {
  readonly #file: string;
  readonly #children = new Map<string, ProcessId>();

  constructor(runPath: string) {
    this.#file = join(runPath, 'children.json');
  }

  set(name: string, pid: number): void {
    const child = identify(pid);
    if (!child) return; // it has ended already
    this.#children.set(name, child);
    const draft = `${this.#file}.new`;
    writeFileSync(draft, `${JSON.stringify(Object.fromEntries(this.#children))}\n`, { mode: 0o600 });
    renameSync(draft, this.#file);
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
        for (const child of left) if (isAlive(child)) process.kill(child.pid, 'SIGKILL');
      }
      await delay(POLL_MS);
    }
  }

  #read(): ProcessId[] {
    try {
      const value: unknown = JSON.parse(readFileSync(this.#file, 'utf8'));
      const children = typeof value === 'object' && value !== null ? Object.values(value) : [];
      return children.map(parseProcessId).filter((child) => child !== null);
    } catch (error) {
      if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  }
}
