import { systemCode } from '../errors.ts';
import type { CliStream } from './io.ts';
import { widthOf } from './width.ts';
import { forTerminal, jsonForTerminal, UNSAFE } from '../observability/unsafe-text.ts';

// Not by `import`: see environment.ts.
const { stripVTControlCharacters } = process.getBuiltinModule('node:util');

export type Colour = 'red' | 'green' | 'yellow' | 'dim' | 'bold';

const CODES: Readonly<Record<Colour, readonly [number, number]>> = {
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  dim: [2, 22],
  bold: [1, 22],
};

/** How long after Ctrl-C the last of the output may take to leave. */
const LAST_WORDS_MS = 1_000;

/**
 * One of the two output streams: waits for slow readers, colours only on a terminal, and once its reader is gone
 * (`flashpods ps | head -1`) takes what is written and drops it.
 */
export class Output {
  readonly isTTY: boolean;
  readonly #stream: CliStream;
  readonly #colours: boolean;
  #closed = false;
  #failure: Error | null = null;
  #interrupted = false;
  readonly #waiting = new Set<() => void>();

  constructor(stream: CliStream, { noColor }: { noColor: boolean }) {
    this.#stream = stream;
    this.isTTY = stream.isTTY === true;
    this.#colours = this.isTTY && !noColor;
    stream.on('error', (error: Error) => {
      this.#closed = true;
      // Of errors after the first, those of a stream that is gone, the first is the cause.
      if (systemCode(error) !== 'EPIPE') this.#failure ??= error;
    });
    stream.on('close', () => {
      this.#closed = true;
    });
  }

  /** Nobody reads any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Why nothing can be written (a full disk); null also when the reader has just gone. */
  get failure(): Error | null {
    return this.#failure;
  }

  get columns(): number {
    return this.#stream.columns ?? 80;
  }

  /**
   * Writes what may hold text of unknown origin: on a terminal nothing of it is obeyed but colours, newlines and tabs
   * ({@link forTerminal}); elsewhere it stays exact. Resolves when more may be written.
   */
  write(text: string): Promise<void> {
    return this.control(this.isTTY ? forTerminal(text) : text);
  }

  /** Writes all as it is, for what this program itself tells the terminal. Resolves when more may be written. */
  async control(text: string | Uint8Array): Promise<void> {
    if (this.#closed || text.length === 0 || this.#stream.write(text) || this.#interrupted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        for (const event of ['drain', 'close', 'error']) this.#stream.off(event, done);
        this.#waiting.delete(done);
        resolve();
      };
      this.#waiting.add(done);
      for (const event of ['drain', 'close', 'error']) this.#stream.on(event, done);
    });
  }

  line(text: string): Promise<void> {
    return this.write(`${text}\n`);
  }

  json(value: unknown): Promise<void> {
    const text = JSON.stringify(value);
    return this.line(this.isTTY ? jsonForTerminal(text) : text);
  }

  colour(colour: Colour, text: string): string {
    const [on, off] = CODES[colour];
    return this.#colours ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }

  /** After Ctrl-C nobody is waited for who has stopped reading, but for a moment at the end. */
  stopWaiting(): void {
    this.#interrupted = true;
    for (const done of this.#waiting) done();
  }

  /** Resolves when all that was written has left the process, or can't. */
  async flush(): Promise<void> {
    if (this.#closed) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#stream.write('', () => resolve());
      if (this.#interrupted) timer = setTimeout(resolve, LAST_WORDS_MS);
    });
    clearTimeout(timer);
    // What a write fails with is told after its callback.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * Text of unknown origin, for one line of a terminal: escape sequences are removed, every other control
 * character (C1 and the bidirectional overrides included) becomes a visible stand-in.
 */
export const sanitize = (text: string): string =>
  stripVTControlCharacters(text)
    .replaceAll(/[\t\n\r]+/g, ' ')
    .replaceAll(UNSAFE, '\uFFFD');

/** As {@link sanitize}, and no wider than `width` columns of a terminal. */
export function shorten(text: string, width: number): string {
  const line = sanitize(text);
  if (widthOf(line) <= width) return line;
  let short = '';
  let taken = 1; // the ellipsis
  for (const character of line) {
    taken += widthOf(character);
    if (taken > width) break;
    short += character;
  }
  return `${short}…`;
}
