/** The log of a job: what its container prints, and what there is to tell of it. */
import type { Sandbox } from '../../src/containers/sandbox.ts';
import type { LogCapture, LogResult } from '../../src/logs/log-store.ts';
import type { Attendant, CloseReason } from './attendant.ts';

export interface LogAttendantOptions {
  /** Tries until the log is open. */
  capture(spoolPath: string | null): Promise<LogCapture>;
  /** Finishes it, and tries until that is done. */
  finish(capture: LogCapture): Promise<LogResult>;
}

export class LogAttendant implements Attendant {
  readonly #o: LogAttendantOptions;
  readonly #waiting: string[] = [];
  #opening: Promise<void> | null = null;
  #capture: LogCapture | null = null;
  #result: LogResult | null = null;

  constructor(options: LogAttendantOptions) {
    this.#o = options;
  }

  /** What became of it; null until it is finished. */
  get result(): LogResult | null {
    return this.#result;
  }

  /** A second call joins the first. */
  open(sandbox: Sandbox | null): Promise<void> {
    return (this.#opening ??= this.#open(sandbox));
  }

  /** Adds a line of Flashpods's own; kept until the log is open. Never throws. */
  system(line: string): void {
    if (this.#capture === null) this.#waiting.push(line);
    else this.#capture.system(line);
  }

  /** Before the start: the first line is often there before Podman has answered. */
  follow(): void {
    this.#capture?.follow();
  }

  async close(reason: CloseReason): Promise<void> {
    await this.#opening?.catch(() => undefined);
    const capture = this.#capture;
    if (capture === null) return;
    if (reason === 'ended') this.#result ??= await this.#o.finish(capture);
    else await capture.close();
  }

  async #open(sandbox: Sandbox | null): Promise<void> {
    const capture = await this.#o.capture(sandbox?.spoolPath ?? null);
    for (const line of this.#waiting.splice(0)) capture.system(line);
    this.#capture = capture;
  }
}
