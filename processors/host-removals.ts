/** The worker's half of removing things: does what it is asked for, and says what became of it. */
import type { RedisRemovals } from '../queues/removals.ts';
import { messageOf } from '../src/errors.ts';
import type { RemovalOutcome } from '../src/hosts/removal.ts';
import type { Logger } from '../src/observability/logger.ts';

export interface HostRemovalsOptions<Removal> {
  readonly board: Pick<RedisRemovals<Removal>, 'wanted' | 'say'>;
  /** @throws what keeps it from that */
  readonly remove: (removal: Removal) => Promise<RemovalOutcome['state']>;
  readonly host: string;
  readonly logger: Logger;
  /** Says what this host has, before it is said that something is gone. */
  readonly sayStock: () => Promise<void>;
}

export class HostRemovals<Removal> {
  readonly #o: HostRemovalsOptions<Removal>;
  #work: Promise<void> = Promise.resolve();

  constructor(options: HostRemovalsOptions<Removal>) {
    this.#o = options;
  }

  /** Call when something may be asked for, and every second. @throws when Redis is away */
  look(): Promise<void> {
    // One after the other: two looks would both find the same.
    const next = this.#work.then(() => this.#look());
    this.#work = next.catch(() => undefined);
    return next;
  }

  async #look(): Promise<void> {
    const { board, remove, host, logger, sayStock } = this.#o;
    for (const [id, removal] of await board.wanted(host)) {
      const outcome: RemovalOutcome = await remove(removal).then(
        (state) => ({ state }),
        (error: unknown) => ({ state: 'failed', reason: messageOf(error) }),
      );
      logger.info({ removal, outcome }, 'something was to be removed');
      await sayStock();
      await board.say(host, id, outcome);
    }
  }
}
