/** The worker's half of removing images: does what it is asked for, and says what became of it. */
import type { RedisImageRemovals } from '../queues/images/image-removals.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import { messageOf } from '../src/errors.ts';
import type { RemovalOutcome } from '../src/images/removal.ts';
import type { Logger } from '../src/observability/logger.ts';

export interface ImageRemovalsOptions {
  readonly runtime: Pick<ContainerRuntime, 'removeImage'>;
  readonly board: Pick<RedisImageRemovals, 'wanted' | 'say'>;
  readonly host: string;
  readonly logger: Logger;
  /** Called before it is said that something is gone. */
  readonly sayStock: () => Promise<void>;
}

export class HostImageRemovals {
  readonly #o: ImageRemovalsOptions;
  #work: Promise<void> = Promise.resolve();

  constructor(options: ImageRemovalsOptions) {
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
    const { runtime, board, host, logger, sayStock } = this.#o;
    for (const [id, removal] of await board.wanted(host)) {
      const outcome: RemovalOutcome = await runtime.removeImage(removal).then(
        (state) => ({ state }),
        (error: unknown) => ({ state: 'failed', reason: messageOf(error) }),
      );
      logger.info(
        { ...removal, outcome: outcome.state, reason: outcome.reason },
        'an image was to be removed',
      );
      await sayStock();
      await board.say(host, id, outcome);
    }
  }
}
