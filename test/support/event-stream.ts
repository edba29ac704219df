/** A listener of server-sent events (WHATWG HTML, 9.2), on purpose without a library: what comes is looked at byte by byte. */
import { type IncomingMessage, get } from 'node:http';
import type { Caller } from './http.ts';
import { eventually } from './eventually.ts';

export interface StreamEvent {
  readonly id: string;
  readonly type: string;
  readonly data: Record<string, unknown>;
}

export class EventStream {
  readonly events: StreamEvent[] = [];
  /** Of every event and every block that only carries an id. */
  lastEventId = '';
  comments = 0;
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly #response: IncomingMessage;
  #rest = '';
  #ended: 'cleanly' | 'broken' | null = null;

  private constructor(response: IncomingMessage) {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => this.#take(chunk));
    response.once('end', () => (this.#ended = response.complete ? 'cleanly' : 'broken'));
    response.once('error', () => (this.#ended = 'broken'));
    response.once('close', () => (this.#ended ??= 'broken'));
  }

  /** @param path with the query, if any */
  static open(
    caller: Caller,
    path: string,
    options: { lastEventId?: string; token?: string; paused?: boolean } = {},
  ): Promise<EventStream> {
    return new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${options.token ?? caller.token}`,
        ...(options.lastEventId === undefined ? {} : { 'last-event-id': options.lastEventId }),
      };
      const request = get(`${caller.url}${path}`, { headers, agent: false }, (response) => {
        const stream = new EventStream(response);
        if (options.paused) response.pause();
        resolve(stream);
      });
      request.once('error', reject);
    });
  }

  /** How it ended; null while it is open. */
  get ended(): 'cleanly' | 'broken' | null {
    return this.#ended;
  }

  resume(): void {
    this.#response.resume();
  }

  /** Breaks off, as a lost connection does. */
  close(): void {
    this.#response.destroy();
  }

  of(type: string): Record<string, unknown>[] {
    return this.events.filter((event) => event.type === type).map(({ data }) => data);
  }

  get statuses(): unknown[] {
    return this.of('state').map((job) => job['status']);
  }

  /** Text of every log line. */
  get lines(): string[] {
    return this.of('log').flatMap((log) => (log['lines'] as { text: string }[]).map(({ text }) => text));
  }

  async until(what: string, done: (stream: this) => unknown, timeoutMs?: number): Promise<this> {
    await eventually(what, () => done(this), { everyMs: 5, ...(timeoutMs ? { timeoutMs } : {}) });
    return this;
  }

  #take(chunk: string): void {
    const blocks = (this.#rest + chunk).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    for (const block of blocks) {
      let type = 'message';
      let data: string | null = null;
      for (const line of block.split('\n')) {
        const [, field = '', value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
        if (line.startsWith(':')) this.comments += 1;
        else if (field === 'id') this.lastEventId = value;
        else if (field === 'event') type = value;
        else if (field === 'data') data = data === null ? value : `${data}\n${value}`;
      }
      if (data !== null) {
        this.events.push({ id: this.lastEventId, type, data: JSON.parse(data) as Record<string, unknown> });
      }
    }
  }
}
