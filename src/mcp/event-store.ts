import type { EventId, EventStore, StreamId } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

interface StoredEvent {
  readonly number: number;
  readonly stream: StreamId;
  readonly message: JSONRPCMessage;
  readonly bytes: number;
}

const MAX_EVENTS = 500;
const MAX_BYTES = 2 * 1024 * 1024;

/**
 * What one session sent last, so that a client whose stream broke off can go on behind the last message it saw. Bounded
 * in number and bytes: whoever comes back too late finds the beginning gone.
 */
export class RecentEvents implements EventStore {
  readonly #events: StoredEvent[] = [];
  #bytes = 0;
  #last = 0;

  async storeEvent(stream: StreamId, message: JSONRPCMessage): Promise<EventId> {
    this.#last += 1;
    const bytes = Buffer.byteLength(JSON.stringify(message));
    this.#events.push({ number: this.#last, stream, message, bytes });
    this.#bytes += bytes;
    while (this.#events.length > 1 && (this.#events.length > MAX_EVENTS || this.#bytes > MAX_BYTES)) {
      this.#bytes -= this.#events.shift()?.bytes ?? 0;
    }
    return `${this.#last}_${stream}`;
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
    for (const { number, stream, message } of [...this.#events]) {
      // A message without a method, result or error only opened its stream.
      if (number <= from.number || stream !== from.stream || Object.keys(message).length === 0) continue;
      await send(`${number}_${stream}`, message);
    }
    return from.stream;
  }
}

function parse(id: EventId): { number: number; stream: StreamId } | null {
  const match = /^(\d{1,15})_(.+)$/.exec(id);
  return match?.[1] && match[2] ? { number: Number(match[1]), stream: match[2] } : null;
}
