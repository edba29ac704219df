/** How long a start may take. What the job itself is to blame for, such as its packages, does not count. */
export class StartDeadline {
  readonly #ms: number;
  readonly #over = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
    this.resume();
  }

  /** Aborted when it is over. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** The whole time from now on. */
  resume(): void {
    clearTimeout(this.#timer);
    const over = (): void => this.#over.abort(new DOMException('the start took too long', 'TimeoutError'));
    this.#timer = setTimeout(over, this.#ms).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
