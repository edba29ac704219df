import type { LogLine } from '../client/answers.ts';
import type { CliContext } from './context.ts';
import { COLOUR } from '../observability/unsafe-text.ts';
import { stamped } from './present-job.ts';

/** The beginning of a colour at the end of a piece of a line: more of it may follow. */
const BEGUN_COLOUR = /\u001b(?:\[[0-9;:]{0,64})?$/;
const RESET = '\u001b[0m';
/** Colours of a stream that are in force at once. */
const MAX_COLOURS = 8;

export interface LogPrinting {
  readonly timestamps?: boolean;
  /** Nothing but what the job printed; a terminal, too, gets all of it, with all that it may do there. */
  readonly raw?: boolean;
}

/**
 * Prints lines of a job's log: what the job wrote to stderr goes to stderr, and what Flashpods itself says in the
 * log too, so that `run … > file` holds the job's stdout alone, byte for byte. With `--json` every line is an object on
 * stdout.
 *
 * A terminal gets a job's colours and no other escape sequence, unless `raw` is asked for. A colour ends with its line,
 * so that nothing of ours is painted or hidden by it, and begins again with the next line of its stream.
 */
export class LogPrinter {
  readonly #context: CliContext;
  readonly #timestamps: boolean;
  readonly #raw: boolean;
  /** Streams whose last line goes on. */
  readonly #open = new Set<LogLine['stream']>();
  /** What is in force in a stream, and the beginning of a colour whose rest has not come. */
  readonly #colours = new Map<LogLine['stream'], readonly string[]>();
  readonly #begun = new Map<LogLine['stream'], string>();

  constructor(context: CliContext, { timestamps = false, raw = false }: LogPrinting) {
    this.#context = context;
    this.#timestamps = timestamps;
    this.#raw = raw;
  }

  /** The last line that was printed goes on. */
  get isMidLine(): boolean {
    return this.#open.size > 0;
  }

  async print(line: LogLine): Promise<void> {
    const { out, err, json } = this.#context;
    if (json) {
      await out.json({ event: 'log', ...line });
      return;
    }
    const { stream, partial = false, unended = false } = line;
    const isSystem = stream === 'system';
    if (isSystem && this.#raw) {
      // That bytes are missing is no part of them.
      if (line.text.startsWith('[TRUNCATED')) this.#context.notice(line.text);
      return;
    }
    const goesOn = this.#open.delete(stream);
    // On a terminal both streams end up in the same place: an open line of the other one is broken first.
    const breaks = !goesOn && this.#open.size > 0 && out.isTTY && err.isTTY ? '\n' : '';
    if (breaks !== '') this.#open.clear();
    if (partial) this.#open.add(stream);
    const target = stream === 'stdout' || stream === 'merged' ? out : err;
    // A file gets what was printed; on a terminal, and on stderr, what is ours comes next, on a line of its own.
    const end = partial || (unended && (this.#raw || (target === out && !out.isTTY))) ? '' : '\n';
    if (target.isTTY && !this.#raw) {
      const painted = this.#painted(line);
      const text = this.#timestamps && !goesOn ? stamped(line.time, painted) : painted;
      await target.write(`${breaks}${isSystem ? target.colour('dim', text) : text}${end}`);
      return;
    }
    const printed = line.bytes === undefined ? Buffer.from(line.text) : Buffer.from(line.bytes, 'base64');
    const stamp = this.#timestamps && !goesOn ? stamped(line.time, '') : '';
    await target.control(Buffer.concat([Buffer.from(breaks + stamp), printed, Buffer.from(end)]));
  }

  /** The text between the colours that its stream has so far and their end. */
  #painted({ stream, text: piece, partial }: LogLine): string {
    let text = (this.#begun.get(stream) ?? '') + piece;
    const begun = partial ? (BEGUN_COLOUR.exec(text)?.[0] ?? '') : '';
    this.#begun.set(stream, begun);
    text = text.slice(0, text.length - begun.length);
    // The end of a line on other systems.
    if (!partial && text.endsWith('\r')) text = text.slice(0, -1);
    const before = this.#colours.get(stream) ?? [];
    const found = text.match(COLOUR) ?? [];
    if (before.length === 0 && found.length === 0) return text;
    const ended = found.findLastIndex((colour) => /^\u001b\[0*m$/.test(colour));
    const after = (ended < 0 ? [...before, ...found] : found.slice(ended + 1)).slice(-MAX_COLOURS);
    this.#colours.set(stream, after);
    return `${before.join('')}${text}${after.length === 0 ? '' : RESET}`;
  }
}
