/**
 * Space that is kept back for the moment in which a disk is full to the last byte: files that are deleted, one at a time,
 * when the disk takes nothing more, so that Redis, database and journals can write what ends jobs and frees space. Made
 * again when there is room. Every process of an installation may look after the same one.
 */
import { mkdirSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { isDiskFull } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { pause } from '../timing/bell.ts';

export interface BallastOptions {
  /** Of the ballast alone; made if it is not there. */
  readonly directory: string;
  readonly bytes: number;
  /** It is made only while this much more is free. */
  readonly restBytes: number;
  readonly logger: Pick<Logger, 'warn' | 'info'>;
  /** Between two looks, ms; a second by default. */
  readonly everyMs?: number;
}

/** Who fills the disk may still be at it: what is let go at once is gone at once. */
const PIECES = 8;
const CHUNK_BYTES = 2 ** 20;
/** Longer than a slow disk takes for one chunk. */
const FORGOTTEN_MS = 120_000;
/** On a smaller file system it would be more than it is worth. */
const LEAST_DISK_BYTES = 256 * 2 ** 20;
/** Of a file system it takes this part at most. */
const PART = 1 / 16;
const PROBE_BYTES = 64 * 1024;

export class Ballast {
  readonly #o: BallastOptions;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | null = null;

  constructor(options: BallastOptions) {
    this.#o = options;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  /** Lets a piece go when the disk takes nothing more, or makes one when there is room. @throws what else the disk has */
  async look(): Promise<void> {
    const { directory, restBytes, logger } = this.#o;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const pieceBytes = this.#pieceBytes();
    const files = readdirSync(directory).filter((name) => name.startsWith('piece-'));
    const pieces = files.filter((name) => /^piece-\d$/.test(name));
    if (await this.#isFull()) {
      const piece = files.find((name) => !pieces.includes(name)) ?? pieces.at(-1);
      if (piece === undefined) return;
      rmSync(join(directory, piece), { force: true });
      logger.warn(
        { directory, left: files.length - 1 },
        'the disk is full: a piece of the ballast is let go',
      );
      return;
    }
    for (const draft of files.filter((name) => !pieces.includes(name))) this.#dropForgotten(draft);
    if (pieceBytes === 0 || pieces.length >= PIECES) return;
    const { bavail, bsize } = statfsSync(directory);
    if (bavail * bsize < restBytes + pieceBytes) return;
    const missing = Array.from({ length: PIECES }, (_, index) => `piece-${index}`);
    const name = missing.find((each) => !pieces.includes(each));
    if (name !== undefined) await this.#make(join(directory, name), pieceBytes);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.look().catch((error: unknown) => {
        this.#o.logger.warn({ err: error }, 'the ballast can not be looked after; the next look tries again');
      });
      await pause(this.#o.everyMs ?? 1_000, signal);
    }
  }

  /** A process that was killed leaves the piece that it made. */
  #dropForgotten(draft: string): void {
    const path = join(this.#o.directory, draft);
    const changed = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Math.abs(Date.now() - changed) > FORGOTTEN_MS) rmSync(path, { force: true });
  }

  #pieceBytes(): number {
    const { blocks, bsize } = statfsSync(this.#o.directory);
    const whole = blocks * bsize;
    return whole < LEAST_DISK_BYTES ? 0 : Math.floor(Math.min(this.#o.bytes, whole * PART) / PIECES);
  }

  /** Whether a small file can't be written: the free space that a file system counts may be for nobody. */
  async #isFull(): Promise<boolean> {
    const probe = join(this.#o.directory, `probe-${process.pid}`);
    try {
      const file = await open(probe, 'w', 0o600);
      try {
        await file.writeFile(Buffer.alloc(PROBE_BYTES, 1));
      } finally {
        await file.close();
      }
      return false;
    } catch (error) {
      if (isDiskFull(error)) return true;
      throw error;
    } finally {
      await rm(probe, { force: true });
    }
  }

  /** Of bytes that no file system makes small. */
  async #make(path: string, bytes: number): Promise<void> {
    const draft = `${path}.${process.pid}`;
    try {
      const file = await open(draft, 'w', 0o600);
      try {
        for (let left = bytes; left > 0; left -= CHUNK_BYTES)
          await writeFile(file, randomBytes(Math.min(left, CHUNK_BYTES)));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
    } catch (error) {
      await rm(draft, { force: true });
      if (!isDiskFull(error)) throw error;
    }
  }
}
