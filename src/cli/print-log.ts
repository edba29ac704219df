import type { LogLine } from '../client/answers.ts';
import type { CliContext } from './context.ts';
import { stamped } from './present-job.ts';

/**
 * Prints lines of a job's log: what the job wrote to stderr goes to stderr, and what Flashpods itself says in the
 * log too, so that `run … > file` holds the job's stdout alone. With `--json` every line is an object on stdout.
 */
export class LogPrinter {
  readonly #context: CliContext;
  readonly #timestamps: boolean;
  /** Streams whose last line goes on. */
  readonly #open = new Set<LogLine['stream']>();

  constructor(context: CliContext, { timestamps = false }: { readonly timestamps?: boolean }) {
    this.#context = context;
    this.#timestamps = timestamps;
  }

  async print(line: LogLine): Promise<void> {
    const { out, err, json } = this.#context;
    if (json) {
      await out.json({ event: 'log', ...line });
      return;
    }
    const goesOn = this.#open.delete(line.stream);
    // On a terminal both streams end up in the same place: an open line of the other one is broken first.
    const breaks = !goesOn && this.#open.size > 0 && out.isTTY && err.isTTY ? '\n' : '';
    if (breaks !== '') this.#open.clear();
    if (line.partial) this.#open.add(line.stream);
    const target = line.stream === 'stdout' ? out : err;
    const text = this.#timestamps && !goesOn ? stamped(line.time, line.text) : line.text;
    const shown = line.stream === 'system' ? target.colour('dim', text) : text;
    await target.write(`${breaks}${shown}${line.partial ? '' : '\n'}`);
  }
}
