import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { ifMissing } from '../files/if-missing.ts';
import { readFully } from '../files/read-fully.ts';
import { gapAt, type SpoolGap, SpoolGaps } from './spool-gaps.ts';

export const CHUNK_BYTES = 512 * 1024;
/** The spool is freed in steps of this size. */
const HOLE_BYTES = 8 * 1024 * 1024;

/** The runtime's log of one container, which may not exist yet: read in chunks, and freed behind them. */
export class Spool {
  readonly #path: string;
  readonly #gaps: SpoolGaps;
  #file: FileHandle | null = null;
  #chunk: Buffer | null = null;
  #hole: Promise<void> | null = null;
  #holeEnd = 0;

  constructor(path: string) {
    this.#path = path;
    this.#gaps = new SpoolGaps(path);
  }

  /** Its end; 0 while there is none. */
  async size(): Promise<number> {
    const file = await this.#open();
    return file === null ? 0 : (await file.stat()).size;
  }

  async #open(): Promise<FileHandle | null> {
    this.#file ??= await open(this.#path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(ifMissing(null));
    return this.#file;
  }

  /** What is left out of it at `offset`; null: nothing. */
  async gapAt(offset: number): Promise<SpoolGap | null> {
    return gapAt(await this.#gaps.read(), offset);
  }

  /** @returns what it holds from `offset` on, at most one chunk and to where a part is left out, valid until the next read; null: nothing (yet) */
  async read(offset: number): Promise<Buffer | null> {
    const file = await this.#open();
    if (file === null) return null;
    const rest = (await file.stat()).size - offset;
    if (rest <= 0) return null;
    const size = Math.min(rest, CHUNK_BYTES);
    if (this.#chunk === null || this.#chunk.length < size) this.#chunk = Buffer.allocUnsafe(size);
    const chunk = this.#chunk.subarray(0, size);
    const read = await readFully(file, chunk, offset);
    // A gap is written down before it is made: only now it is known which bytes are the job's.
    const gap = (await this.#gaps.read()).find(({ from, to }) => from < offset + read && offset < to);
    return chunk.subarray(0, gap === undefined ? read : Math.max(0, gap.from - offset));
  }

  /** Gives the memory of the last chunk back. */
  rest(): void {
    this.#chunk = null;
  }

  /** Gives the disk space before `done` back, where the file system can. Nothing waits for it. */
  free(done: number): void {
    const end = Math.floor(done / HOLE_BYTES) * HOLE_BYTES;
    if (end <= this.#holeEnd || this.#hole !== null) return;
    const args = ['--punch-hole', '--offset', String(this.#holeEnd), '--length', String(end - this.#holeEnd)];
    this.#hole = new Promise((resolve) => {
      execFile('fallocate', [...args, this.#path], { timeout: 10_000 }, (error, _, said) => {
        // Without the tool, or on a file system without holes, the spool keeps its size. Anything else may go by.
        if (error === null) this.#holeEnd = end;
        else if (error.code === 'ENOENT' || said.includes('not supported')) this.#holeEnd = Infinity;
        this.#hole = null;
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    await this.#hole;
    const file = this.#file;
    this.#file = null;
    await file?.close();
  }
}
