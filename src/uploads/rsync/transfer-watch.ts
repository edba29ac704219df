/** Lets rsync connections in, and measures what they bring while they bring it. */
import { setTimeout as delay } from 'node:timers/promises';
import { once } from '../../lifecycle/once.ts';
import type { Logger } from '../../observability/logger.ts';
import type { RsyncAccess, RsyncWriter } from './access.ts';

const IDLE_MS = 50;
/** While somebody writes: what can come between two looks goes over the limit unnoticed. */
const BUSY_MS = 20;

/** What the watch asks and tells; both know the upload by its id. */
export interface TransferRules {
  tree(id: string): string;
  /** The largest file in bytes, or a sentence that refuses the connection. */
  admit(id: string): Promise<number | string>;
  /** @returns whether the tree was measured, so that growth counts from here */
  look(id: string, grownBytes: number | null): Promise<boolean>;
}

export class TransferWatch {
  readonly #access: RsyncAccess;
  readonly #rules: TransferRules;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  /** Transfers that were let in, with what they had written when their tree was last measured. */
  readonly #known = new Map<string, { connection: string; writtenBytes: number }>();
  #loop: Promise<void> | null = null;

  constructor(access: RsyncAccess, rules: TransferRules, logger: Logger) {
    this.#access = access;
    this.#rules = rules;
    this.#logger = logger;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Transfers that go on are watched by the next one that starts. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort();
    await this.#loop;
  });

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let busy = false;
      try {
        const writers = this.#access.writers();
        busy = writers.length > 0;
        await this.#lookAfterEnded(writers);
        // At once: an upload that is measured must not keep another from being let in.
        await Promise.all(writers.map((writer) => this.#one(writer)));
      } catch (error) {
        this.#logger.error({ err: error }, 'watching transfers by rsync failed; trying again');
      }
      await delay(busy ? BUSY_MS : IDLE_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #lookAfterEnded(writers: readonly RsyncWriter[]): Promise<void> {
    const writing = new Map(writers.map((writer) => [writer.uploadId, keyOf(writer)]));
    for (const [id, { connection }] of this.#known) {
      if (writing.get(id) === connection) continue;
      this.#known.delete(id);
      await this.#rules.look(id, null);
    }
  }

  async #one(writer: RsyncWriter): Promise<void> {
    const { uploadId: id } = writer;
    if (!writer.answered) {
      const verdict = await this.#rules.admit(id);
      // Known before it may begin: not even the shortest transfer goes unmeasured.
      if (typeof verdict === 'number') this.#known.set(id, { connection: keyOf(writer), writtenBytes: 0 });
      this.#access.answer(id, verdict);
      return;
    }
    const writtenBytes = this.#access.bytesWritten(writer, this.#rules.tree(id));
    const known = this.#known.get(id);
    const grown = known?.connection === keyOf(writer) ? Math.max(0, writtenBytes - known.writtenBytes) : null;
    if (await this.#rules.look(id, grown)) {
      this.#known.set(id, { connection: keyOf(writer), writtenBytes });
    }
  }
}

const keyOf = ({ connection }: RsyncWriter): string => `${connection.pid} ${connection.startTicks}`;
