/** What a person is told of a job between two lines of its output: where it stands, why it waits, and for how long. */
import type { JobAnswer } from '../client/answers.ts';
import { isWaiting } from '../jobs/states.ts';
import type { CliContext } from './context.ts';
import { describeWaiting } from './present-job.ts';
import { showDuration } from './quantity.ts';
import { StatusLine } from './status-line.ts';
import { sanitize } from './terminal.ts';

/** A job that says nothing for this long is told of. */
const SILENT_MS = 2_000;
const LOOK_EVERY_MS = 250;

/**
 * On a terminal one line that changes in place while the job is silent; elsewhere a line on stderr after two seconds
 * without output, and again each time that the time has doubled. Once a job has printed, only a terminal is told more.
 */
export class Progress {
  readonly #id: string;
  readonly #context: CliContext;
  readonly #line: StatusLine;
  readonly #began = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #job: JobAnswer | null = null;
  /** When the job came to its state, and was last heard. */
  #since = this.#began;
  #heardAt = this.#began;
  #hasPrinted = false;
  #isMidLine = false;
  #toldReason = '';
  #tellAgainMs = SILENT_MS;

  constructor(id: string, context: CliContext) {
    this.#id = id;
    this.#context = context;
    this.#line = new StatusLine(context.err);
    if (!context.json) this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** The job as it is now. */
  show(job: JobAnswer): void {
    if (job.status !== this.#job?.status) this.#since = performance.now();
    this.#job = job;
    this.#look();
  }

  /** Before a line of its log is printed. @param isOurs what Flashpods itself says there */
  clear(isOurs: boolean): void {
    this.#heardAt = performance.now();
    if (!isOurs) this.#hasPrinted = true;
    this.#line.clear();
  }

  /** After it: whether the line goes on. */
  printed(isMidLine: boolean): void {
    this.#isMidLine = isMidLine;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#line.clear();
  }

  #look(): void {
    if (this.#timer === undefined || this.#isMidLine) return;
    const now = performance.now();
    if (this.#context.err.isTTY) {
      if (!this.#hasPrinted || now - this.#heardAt >= SILENT_MS) this.#line.show(() => this.#text());
      return;
    }
    if (this.#hasPrinted || now - this.#began < SILENT_MS) return;
    // Of one that waits it is told when the reason is another one, not each time that one job less is ahead.
    const waits = this.#job !== null && isWaiting(this.#job.status);
    const reason = waits ? (this.#job?.waiting_reason ?? '').replaceAll(/\d[\d,]*/g, '') : '';
    const isDue = waits ? reason !== this.#toldReason : now - this.#began >= this.#tellAgainMs;
    if (!isDue) return;
    this.#toldReason = reason;
    while (!waits && this.#tellAgainMs <= now - this.#began) this.#tellAgainMs *= 2;
    this.#context.notice(this.#text());
  }

  #text(): string {
    const job = this.#job;
    if (job === null) return this.#id;
    if (isWaiting(job.status)) return `${this.#id} ${describeWaiting(job)}`;
    const host = job.host ? ` on ${sanitize(job.host)}` : '';
    const clock = showDuration(Math.floor((performance.now() - this.#since) / 1_000));
    return `${this.#id} ${job.status}${host} for ${clock}${this.#hasPrinted ? '' : ', no output yet'}`;
  }
}
