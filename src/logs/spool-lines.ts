/** The lines of a runtime's spool, while they come: for what is shown somewhere else than in the log of its container. */
import { pause } from '../timing/bell.ts';
import { HeaderReader, isPartial, streamOfEntry } from './spool-entry.ts';
import { STDERR } from './log-index.ts';
import { CHUNK_BYTES, Spool } from './spool.ts';
import { SpoolWatch } from './spool-watch.ts';

/** More of one line is dropped. */
const LINE_BYTES = 4_096;
const NEWLINE = 10;
/** This number at once; then the listener gets time to write them down. */
const LINES_AT_ONCE = 200;
const TIME_MS = 10;

export type SpoolLine = (text: string, stream: 'stdout' | 'stderr') => void;

export class SpoolLines {
  readonly #spool: Spool;
  readonly #watch: SpoolWatch;
  readonly #tell: SpoolLine;
  readonly #header = new HeaderReader();
  readonly #begun = { stdout: '', stderr: '' };
  #offset = 0;
  #ending = false;
  readonly #done: Promise<void>;

  /** Begins to follow the file, which may not exist yet. */
  constructor(path: string, tell: SpoolLine) {
    this.#spool = new Spool(path);
    this.#watch = new SpoolWatch(path);
    this.#tell = tell;
    this.#watch.start();
    this.#done = this.#follow();
    this.#done.catch(() => undefined); // told by `end`
  }

  /** Tells what is there now, and ends. @throws what the file system has against it */
  async end(): Promise<void> {
    this.#ending = true;
    this.#watch.stop();
    this.#watch.notify();
    await this.#done;
  }

  async #follow(): Promise<void> {
    try {
      for (;;) {
        const last = this.#ending;
        await this.#drain();
        if (last) return;
        await this.#watch.wait();
      }
    } finally {
      await this.#spool.close();
    }
  }

  async #drain(): Promise<void> {
    for (;;) {
      const chunk = await this.#spool.read(this.#offset);
      if (chunk === null) return;
      let at = 0;
      let lines = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, at)) {
        this.#entry(chunk, at, end);
        at = end + 1;
        lines += 1;
        if (lines % LINES_AT_ONCE === 0) await pause(TIME_MS);
      }
      // An entry that no chunk can hold is nobody's line.
      if (at === 0 && chunk.length === CHUNK_BYTES) at = chunk.length;
      if (at === 0) return;
      this.#offset += at;
    }
  }

  #entry(chunk: Buffer, start: number, end: number): void {
    const text = this.#header.read(chunk, start, end);
    if (text < 0) return;
    const stream = streamOfEntry(chunk, text) === STDERR ? 'stderr' : 'stdout';
    const line = (this.#begun[stream] + chunk.toString('utf8', text, end)).slice(0, LINE_BYTES);
    const isOpen = isPartial(chunk, text);
    this.#begun[stream] = isOpen ? line : '';
    if (!isOpen) this.#tell(line, stream);
  }
}
