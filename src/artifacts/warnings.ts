const MAX_LINES = 50;
const MAX_SHOWN = 200;
/** A job may make as many as it likes; beyond these, the order is not looked at any more. */
const MAX_KEPT = 10_000;

/** What was left out, for people: bounded lines, a bounded number of them, in the order of the names. */
export class Warnings {
  readonly #files: { readonly name: string; readonly line: string }[] = [];
  readonly #notes: string[] = [];
  #others = 0;

  /** Of something with a name, that is no artifact. */
  leftOut(name: string, reason: string): void {
    this.about(name, `was left out: ${reason}`);
  }

  /** Of something with a name. */
  about(name: string, what: string): void {
    if (this.#files.length < MAX_KEPT) this.#files.push({ name, line: `${quoted(name)} ${what}` });
    else this.#others++;
  }

  /** Of no single one. */
  note(line: string): void {
    this.#notes.push(line);
  }

  get lines(): readonly string[] {
    const sorted = this.#files.sort((a, b) => (a.name < b.name ? -1 : 1));
    const lines = sorted.slice(0, MAX_LINES).map(({ line }) => line);
    const more = sorted.length - lines.length + this.#others;
    if (more > 0) lines.push(`${more} more were left out for such reasons`);
    return [...lines, ...this.#notes];
  }
}

/** In quotation marks, without control characters, and not too long. */
export const quoted = (name: string): string =>
  JSON.stringify(name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name);
