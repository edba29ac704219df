/** Whose turn it is: of all owners with jobs to look at, the one that holds the least; see `choose`. */
import { add, type Amount, NOTHING } from '../src/jobs/amount.ts';

/** What an owner holds, wherever. */
export interface Held extends Amount {
  readonly jobs: number;
}

/** What an owner is entitled to. `Infinity`: no limit. */
export interface Terms {
  /** Its part of the farm beside the other owners that want some. */
  readonly weight: number;
  readonly maxJobs: number;
  readonly maxCpusMilli: number;
  readonly maxMemoryMib: number;
}

/** What the order depends on, see `WaitingJob`. */
interface Ordered {
  readonly owner: string;
  readonly key: number;
  readonly position: number;
}

/** An owner's part in one round of choices. */
export interface Share {
  readonly terms: Terms;
  readonly held: Held;
  /** False once its later jobs may no longer pass the one that waits. */
  readonly passing: boolean;
}

interface Line<Job> extends Share {
  /** In order. */
  readonly jobs: readonly Job[];
  held: Held;
  passing: boolean;
  next: number;
  /** Its dominant share by its weight. */
  size: number;
  /** When it last got something, ms since the Unix epoch. */
  served: number;
}

export interface Turn<Job> {
  readonly job: Job;
  readonly share: Share;
}

const NONE: Held = { ...NOTHING, jobs: 0 };

/**
 * Gives every job its turn, once. After each one say {@link started} or {@link waits} before asking for the next: the
 * owner's share decides when it is asked again. A binary heap: a turn costs the logarithm of the number of owners.
 */
export class Turns<Job extends Ordered> {
  readonly #farm: Amount;
  readonly #heap: Line<Job>[] = [];
  /** The owner whose turn it is. */
  #current: Line<Job> | undefined;

  constructor(
    jobs: readonly Job[],
    farm: Amount,
    held: ReadonlyMap<string, Held>,
    terms: (owner: string) => Terms,
    served: ReadonlyMap<string, number>,
  ) {
    this.#farm = farm;
    for (const [owner, own] of Map.groupBy(jobs, (job) => job.owner)) {
      const line: Line<Job> = {
        terms: terms(owner),
        held: held.get(owner) ?? NONE,
        passing: true,
        jobs: own.sort(inOrder),
        next: 0,
        size: 0,
        served: served.get(owner) ?? -Infinity,
      };
      line.size = this.#sizeOf(line);
      this.#push(line);
    }
  }

  next(): Turn<Job> | null {
    if (this.#current) throw new Error('the last turn was neither started nor left waiting');
    const line = this.#pop();
    const job = line?.jobs[line.next];
    if (!line || !job) return null;
    this.#current = line;
    return { job, share: line };
  }

  /** The job of this turn starts. */
  started(job: Amount): void {
    const line = this.#ofThisTurn();
    line.held = { ...add(line.held, job), jobs: line.held.jobs + 1 };
    this.#advance(line);
  }

  /**
   * The job of this turn does not start.
   * @param passing false: later jobs of its owner may not pass it
   */
  waits(passing = true): void {
    const line = this.#ofThisTurn();
    if (!passing) line.passing = false;
    this.#advance(line);
  }

  #ofThisTurn(): Line<Job> {
    if (!this.#current) throw new Error('it is nobody’s turn');
    return this.#current;
  }

  #advance(line: Line<Job>): void {
    this.#current = undefined;
    line.next += 1;
    line.size = this.#sizeOf(line);
    if (line.next < line.jobs.length) this.#push(line);
  }

  #sizeOf({ held, terms }: Line<Job>): number {
    const cpus = this.#farm.cpusMilli > 0 ? held.cpusMilli / this.#farm.cpusMilli : 0;
    const memory = this.#farm.memoryMib > 0 ? held.memoryMib / this.#farm.memoryMib : 0;
    return Math.max(cpus, memory) / terms.weight;
  }

  #push(line: Line<Job>): void {
    const heap = this.#heap;
    let at = heap.push(line) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!this.#swapUnlessInOrder(above, at)) return;
      at = above;
    }
  }

  #pop(): Line<Job> | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || first === last) return first;
    heap[0] = last;
    for (let at = 0; ;) {
      const left = 2 * at + 1;
      const [a, b] = [heap[left], heap[left + 1]];
      if (!a) return first;
      const below = b && before(b, a) ? left + 1 : left;
      if (!this.#swapUnlessInOrder(at, below)) return first;
      at = below;
    }
  }

  #swapUnlessInOrder(above: number, below: number): boolean {
    const [upper, lower] = [this.#heap[above], this.#heap[below]];
    if (!upper || !lower || !before(lower, upper)) return false;
    this.#heap[above] = lower;
    this.#heap[below] = upper;
    return true;
  }
}

const inOrder = (a: Ordered, b: Ordered): number => a.key - b.key || a.position - b.position;

function before(a: Line<Ordered>, b: Line<Ordered>): boolean {
  if (a.size !== b.size) return a.size < b.size;
  if (a.served !== b.served) return a.served < b.served;
  const [first, second] = [a.jobs[a.next], b.jobs[b.next]];
  return first !== undefined && second !== undefined && inOrder(first, second) < 0;
}
