/**
 * What may be spent on one tree that somebody else made. Everything that unpacks, walks, follows or sums such a tree
 * spends from one of these: entries, bytes of names, steps and time. Over it, the work ends there and then.
 */
import { FlashpodsError } from '../errors.ts';

export interface BudgetLimits {
  /** Files, directories, links and all else. */
  readonly entries: number;
  /** Bytes of the paths of all entries, from the top of the tree, and of the targets of links: they lie in memory. */
  readonly nameBytes: number;
  /** Directories opened, links followed, names compared: each is some microseconds of work. */
  readonly steps: number;
  /** Of a processor, from the first entry on: a slow sender and a slow disk cost nobody anything. */
  readonly cpuMs: number;
}

/** Entries of one tree. A repository of a million lines with all its dependencies has some 100,000. */
export const MAX_TREE_ENTRIES = 500_000;

/** Of an upload, through all of its streams. */
export const UPLOAD_BUDGET: BudgetLimits = {
  entries: MAX_TREE_ENTRIES,
  nameBytes: 64 * 1024 * 1024,
  steps: 2_000_000,
  cpuMs: 5 * 60_000,
};

/** What a tree has used already, or uses. */
export interface Spent {
  readonly entries: number;
  readonly nameBytes: number;
}

/** An entry takes an inode and a place in a directory: that much at least, of what is limited in bytes. */
export const MIN_ENTRY_BYTES = 4096;

/** Bytes of a limit that a file of this size takes; 0 for what is none. */
export const weightOf = (size: number): number => Math.max(MIN_ENTRY_BYTES, size);

/** Looking at the clock is a step too: not every time. */
const CLOCK_EVERY = 256;

/** A tree is larger than anything that is dealt with. */
export class OverBudget extends FlashpodsError {
  /** Begins with `they have`. */
  readonly reason: string;

  constructor(what: string, options: { cause?: unknown } = {}) {
    super('insufficient_storage', `The files have ${what}.`, options);
    this.reason = `they have ${what}`;
  }
}

export class TreeBudget {
  readonly #limits: BudgetLimits;
  readonly #signal: AbortSignal | undefined;
  #entries: number;
  #nameBytes: number;
  #steps = 0;
  #calls = 0;
  #began: NodeJS.CpuUsage | null = null;

  /** @param spent by earlier parts of the same tree */
  constructor(
    limits: BudgetLimits,
    options: { spent?: Spent | undefined; signal?: AbortSignal | undefined } = {},
  ) {
    this.#limits = limits;
    this.#signal = options.signal;
    this.#entries = options.spent?.entries ?? 0;
    this.#nameBytes = options.spent?.nameBytes ?? 0;
  }

  get spent(): Spent {
    return { entries: this.#entries, nameBytes: this.#nameBytes };
  }

  /** @param nameBytes of its path, and of its target @throws OverBudget; the reason of the signal */
  entry(nameBytes: number): void {
    this.#entries += 1;
    if (this.#entries > this.#limits.entries)
      throw new OverBudget(`more than ${this.#limits.entries} entries`);
    this.names(nameBytes);
  }

  /** Of names that lie in memory besides. @throws OverBudget */
  names(bytes: number): void {
    this.#nameBytes += bytes;
    if (this.#nameBytes > this.#limits.nameBytes)
      throw new OverBudget(`more than ${this.#limits.nameBytes / 2 ** 20} MiB of names`);
    this.#look();
  }

  /** @throws OverBudget; the reason of the signal */
  step(count = 1): void {
    this.#steps += count;
    if (this.#steps > this.#limits.steps)
      throw new OverBudget('names and links that take too many steps to follow');
    this.#look();
  }

  /** @throws OverBudget when its time is over; the reason of the signal */
  #look(): void {
    this.#began ??= process.cpuUsage();
    if (++this.#calls % CLOCK_EVERY !== 0) return;
    this.#signal?.throwIfAborted();
    const { user, system } = process.cpuUsage(this.#began);
    if ((user + system) / 1000 > this.#limits.cpuMs)
      throw new OverBudget('so much in them that it takes too long');
  }
}
