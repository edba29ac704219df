import { shorten, type Output } from './terminal.ts';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_MS = 100;

/** One line at the bottom of a terminal that changes in place. Does nothing where there is no terminal. */
export class StatusLine {
  readonly #output: Output;
  #text = (): string => '';
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(output: Output) {
    this.#output = output;
  }

  /** @param text asked for at each turn, where it changes by itself */
  show(text: string | (() => string)): void {
    if (!this.#output.isTTY) return;
    this.#text = typeof text === 'string' ? () => text : text;
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS);
    this.#draw();
  }

  clear(): void {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    void this.#output.control('\r\u001b[K');
  }

  #draw(): void {
    this.#frame = (this.#frame + 1) % FRAMES.length;
    const line = shorten(`${FRAMES[this.#frame] ?? ''} ${this.#text()}`, this.#output.columns - 1);
    void this.#output.control(`\r\u001b[K${this.#output.colour('dim', line)}`);
  }
}
