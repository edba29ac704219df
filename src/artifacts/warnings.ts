import { beginningOf } from '../observability/cut-text.ts';

const MAX_LINES = 50;
const MAX_SHOWN = 200;
/** This many are sorted at once, and those that are not shown are forgotten then. */
const MAX_KEPT = 1_000;

/** What was left out, for people: bounded lines, a bounded number of them, in the order of the names. */
export class Warnings {
  #files: { readonly name: string; readonly line: string }[] = [];
  readonly #notes: string[] = [];
  #others = 0;

  /** Of something with a name, that is no artifact. */
  leftOut(name: string, reason: string): void {
    this.about(name, `was left out: ${reason}`);
  }

  /** Of something with a name. */
  about(name: string, what: string): void {
    this.#files.push({ name, line: `${quoted(name)} ${what}` });
    if (this.#files.length >= MAX_KEPT) this.#forget();
  }

  #forget(): void {
    this.#files.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#others += Math.max(0, this.#files.length - MAX_LINES);
    this.#files = this.#files.slice(0, MAX_LINES);
  }

  /** Of no single one. */
  note(line: string): void {
    this.#notes.push(line);
  }

  get lines(): readonly string[] {
    this.#forget();
    const lines = this.#files.map(({ line }) => line);
    if (this.#others > 0) lines.push(`${this.#others} more were left out for such reasons`);
    return [...lines, ...this.#notes];
  }
}

/** In quotation marks, without control characters, and not too long. */
export const quoted = (name: string): string =>
  JSON.stringify(name.length > MAX_SHOWN ? `${beginningOf(name, MAX_SHOWN)}…` : name);
