/** In whose name trees are read, and how many of one kind are read at once. */
import { AsyncLocalStorage } from 'node:async_hooks';

const inName = new AsyncLocalStorage<string>();

/** Does work on trees in the name of an owner: what waits for a turn in it waits for those of the same owner first. */
export const inNameOf = <T>(owner: string, work: () => Promise<T>): Promise<T> => inName.run(owner, work);

interface Waiting {
  readonly owner: string;
  readonly begin: () => void;
}

/** This number at once, and of one owner at most half of them: its large trees don't keep others waiting. */
export class Turns {
  readonly #atOnce: number;
  readonly #ofOne: number;
  readonly #waiting: Waiting[] = [];
  readonly #taken = new Map<string, number>();
  #all = 0;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
    this.#ofOne = Math.max(1, Math.floor(atOnce / 2));
  }

  /** In the name of an owner ({@link inNameOf}); what nobody asked for is the service's own. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    const owner = inName.getStore() ?? '';
    await new Promise<void>((begin) => {
      this.#waiting.push({ owner, begin });
      this.#next();
    });
    try {
      return await work();
    } finally {
      this.#count(owner, -1);
      this.#next();
    }
  }

  #next(): void {
    while (this.#all < this.#atOnce) {
      const index = this.#waiting.findIndex(({ owner }) => (this.#taken.get(owner) ?? 0) < this.#ofOne);
      const [first] = index === -1 ? [] : this.#waiting.splice(index, 1);
      if (first === undefined) return;
      this.#count(first.owner, 1);
      first.begin();
    }
  }

  #count(owner: string, change: 1 | -1): void {
    const taken = (this.#taken.get(owner) ?? 0) + change;
    this.#all += change;
    if (taken === 0) this.#taken.delete(owner);
    else this.#taken.set(owner, taken);
  }
}
