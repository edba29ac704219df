import type { ReadStream } from 'node:tty';
import type { CliStream } from '../io.ts';
import { forTerminal } from '../../observability/unsafe-text.ts';

const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';

/** Keys by what a terminal sends for them. */
const KEYS: Readonly<Record<string, string>> = {
  '\u0003': 'ctrl-c',
  '\u001b[A': 'up',
  '\u001bOA': 'up',
  '\u001b[B': 'down',
  '\u001bOB': 'down',
  '\u001b[5~': 'page-up',
  '\u001b[6~': 'page-down',
};

/**
 * The whole terminal, lent: the alternate screen without cursor and line wrapping, and keys as they are pressed. It is
 * given back by {@link leave}, and when the process ends in any way that lets JavaScript run.
 */
export class FullScreen {
  readonly #stdout: CliStream;
  readonly #stdin: ReadStream | null;
  readonly #onKey: (key: string) => void;
  readonly #onResize: () => void;
  #entered = false;

  constructor(
    streams: { readonly stdout: CliStream; readonly stdin?: ReadStream | undefined },
    listeners: { readonly onKey: (key: string) => void; readonly onResize: () => void },
  ) {
    this.#stdout = streams.stdout;
    this.#stdin = streams.stdin?.isTTY ? streams.stdin : null;
    this.#onKey = listeners.onKey;
    this.#onResize = listeners.onResize;
  }

  get size(): { rows: number; columns: number } {
    const { rows = 24, columns = 80 } = this.#stdout;
    return { rows, columns };
  }

  enter(): void {
    this.#entered = true;
    process.once('exit', this.leave);
    this.#stdout.write(ENTER);
    this.#stdout.on('resize', this.#onResize);
    this.#stdin?.setRawMode(true);
    this.#stdin?.on('data', this.#heard);
    this.#stdin?.resume();
  }

  /** Can be called twice. */
  readonly leave = (): void => {
    if (!this.#entered) return;
    this.#entered = false;
    process.off('exit', this.leave);
    this.#stdout.off('resize', this.#onResize);
    this.#stdin?.off('data', this.#heard);
    this.#stdin?.setRawMode(false);
    this.#stdin?.pause();
    this.#stdout.write(LEAVE);
  };

  draw(lines: readonly string[]): void {
    if (!this.#entered) return;
    const text = lines.map((line) => `${forTerminal(line)}\u001b[K`).join('\r\n');
    this.#stdout.write(`\u001b[H${text}\u001b[J`);
  }

  readonly #heard = (chunk: Buffer): void => {
    // Several come at once when they are typed quickly. A sequence that is none of ours is no key.
    for (const [key] of chunk.toString('utf8').matchAll(/\u001b(?:\[[0-9;]*[A-Za-z~]|O.)?|[^\u001b]/gsu)) {
      if (KEYS[key] !== undefined) this.#onKey(KEYS[key]);
      else if (!key.startsWith('\u001b')) this.#onKey(key);
    }
  };
}
