import type { EventId, EventStore, StreamId } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

interface StoredEvent {
  readonly number: number;
  readonly stream: StreamId;
  /** The message as JSON: its bytes can be counted, and are fewer than those of the object. */
  readonly json: Buffer;
}

const MAX_EVENTS = 500;
const MAX_BYTES = 2 * 1024 * 1024;
/** What an event takes beside its message, about. */
const OVERHEAD_BYTES = 250;

const sizeOf = ({ json }: StoredEvent): number => json.length + OVERHEAD_BYTES;

/** The bytes that the events of all sessions of a process may take together; the oldest of the largest go first. */
export class EventBudget {
  readonly #maxBytes: number;
  readonly #stores = new Set<RecentEvents>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** A store takes part as long as it holds something. */
  account(store: RecentEvents, change: number): void {
    this.#bytes += change;
    if (store.bytes > 0) this.#stores.add(store);
    else this.#stores.delete(store);
    if (change <= 0) return;
    while (this.#bytes > this.#maxBytes) {
      let largest = store;
      for (const each of this.#stores) if (each.bytes > largest.bytes) largest = each;
      largest.dropOldest();
    }
  }
}

/**
 * What one session sent last, so that a client whose stream broke off can go on behind the last message it saw. Bounded
 * in number and bytes, and by what all sessions share: a client that is back too late finds the start gone.
 */
export class RecentEvents implements EventStore {
  readonly #budget: EventBudget;
  #events: StoredEvent[] = [];
  #bytes = 0;
  #last = 0;
  #isOver = false;

  constructor(budget: EventBudget) {
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async storeEvent(stream: StreamId, message: JSONRPCMessage): Promise<EventId> {
    this.#last += 1;
    const id = `${this.#last}_${stream}`;
    if (this.#isOver) return id;
    const event = { number: this.#last, stream, json: Buffer.from(JSON.stringify(message)) };
    this.#events.push(event);
    this.#grow(sizeOf(event));
    while (this.#events.length > 1 && (this.#events.length > MAX_EVENTS || this.#bytes > MAX_BYTES)) {
      this.dropOldest();
    }
    return id;
  }

  dropOldest(): void {
    const oldest = this.#events.shift();
    if (oldest) this.#grow(-sizeOf(oldest));
  }

  /** The session is over: nobody will come back. */
  close(): void {
    this.#isOver = true;
    this.#events = [];
    this.#grow(-this.#bytes);
  }

  async getStreamIdForEventId(id: EventId): Promise<StreamId | undefined> {
    return parse(id)?.stream;
  }

  /** Only messages of the same stream: those of others went their own way. @throws Error for an id that is none of ours */
  async replayEventsAfter(
    id: EventId,
    { send }: { send: (id: EventId, message: JSONRPCMessage) => Promise<void> },
  ): Promise<StreamId> {
    const from = parse(id);
    if (!from) throw new Error('the event id is not one of this session');
    for (const { number, stream, json } of [...this.#events]) {
      if (number <= from.number || stream !== from.stream) continue;
      const message = JSON.parse(json.toString()) as JSONRPCMessage;
      // One without a method, result or error only opened its stream.
      if (Object.keys(message).length > 0) await send(`${number}_${stream}`, message);
    }
    return from.stream;
  }

  #grow(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.account(this, bytes);
  }
}

function parse(id: EventId): { number: number; stream: StreamId } | null {
  const match = /^(\d{1,15})_(.+)$/.exec(id);
  return match?.[1] && match[2] ? { number: Number(match[1]), stream: match[2] } : null;
}
