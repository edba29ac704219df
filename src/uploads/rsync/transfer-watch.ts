/** Admits connections of rsync, and measures what they bring while they bring it. */
import { setTimeout as delay } from 'node:timers/promises';
import { once } from '../../lifecycle/once.ts';
import type { Logger } from '../../observability/logger.ts';
import type { RsyncWriter, TransferRules } from './rsync.ts';

const IDLE_MS = 50;
/** While somebody writes: what can come between two looks goes over the limit unnoticed. */
const BUSY_MS = 20;

/** Connections of rsync as the daemon's gate lists them. */
export interface Connections {
  /** Those that want to write, or do. */
  writers(): readonly RsyncWriter[];
  /** @param verdict the largest file in bytes, or a sentence that refuses */
  answer(id: string, verdict: number | string): void;
  /** Bytes that a connection's processes have written so far, at least those that went into files. */
  bytesWritten(writer: RsyncWriter): number;
}

export class TransferWatch {
  readonly #connections: Connections;
  readonly #rules: TransferRules;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  /** Transfers that were admitted, with what they had written when their tree was last measured. */
  readonly #known = new Map<string, { connection: string; writtenBytes: number }>();
  #loop: Promise<void> | null = null;

  constructor(connections: Connections, rules: TransferRules, logger: Logger) {
    this.#connections = connections;
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
        const writers = this.#connections.writers();
        busy = writers.length > 0;
        await this.#lookAfterEnded(writers);
        // At once: an upload that is measured must not keep another from being admitted.
        await Promise.all(writers.map((writer) => this.#alone(writer.uploadId, () => this.#one(writer))));
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
      await this.#alone(id, () => this.#rules.look(id, null));
    }
  }

  /** What one upload has is no reason to look at no other. */
  async #alone(id: string, work: () => Promise<unknown>): Promise<void> {
    await work().catch((error: unknown) => {
      this.#logger.error({ err: error, upload_id: id }, 'a transfer by rsync could not be looked at');
    });
  }

  async #one(writer: RsyncWriter): Promise<void> {
    const { uploadId: id } = writer;
    if (!writer.answered) {
      const verdict = await this.#rules.admit(id);
      // Known before it may begin: not even the shortest transfer goes unmeasured.
      if (typeof verdict === 'number') this.#known.set(id, { connection: keyOf(writer), writtenBytes: 0 });
      this.#connections.answer(id, verdict);
      return;
    }
    const writtenBytes = this.#connections.bytesWritten(writer);
    const known = this.#known.get(id);
    const grown = known?.connection === keyOf(writer) ? Math.max(0, writtenBytes - known.writtenBytes) : null;
    if (await this.#rules.look(id, grown)) {
      this.#known.set(id, { connection: keyOf(writer), writtenBytes });
    }
  }
}

const keyOf = ({ connection }: RsyncWriter): string => `${connection.pid} ${connection.startTicks}`;
