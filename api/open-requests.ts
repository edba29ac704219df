/**
 * How many requests may be open for long at once: streams, and calls that wait. The rate limit counts what begins; each
 * of these keeps a socket, a timer and a listener until it ends.
 */
import { FlashpodsError } from '../src/errors.ts';
import type { ApiContext, RouteContext } from './context.ts';

export type OpenKind = 'streams' | 'waiting_requests';

export interface OpenLimit {
  readonly perToken: number;
  /** Of all tokens at this process. */
  readonly inAll: number;
}

export type OpenLimits = Readonly<Record<OpenKind, OpenLimit>>;

const RETRY_AFTER_SECONDS = 5;

export class OpenRequests {
  readonly #limits: OpenLimits;
  readonly #perToken = new Map<string, number>();
  readonly #inAll: Record<OpenKind, number> = { streams: 0, waiting_requests: 0 };
  readonly #counted = new WeakSet<object>();

  constructor(limits: OpenLimits) {
    this.#limits = limits;
  }

  /** Counts a request until its answer has ended; the same one again costs nothing. @throws FlashpodsError too_many_open */
  enter({ res }: ApiContext | RouteContext, kind: OpenKind, tokenId: string): void {
    if (this.#counted.has(res) || res.closed) return;
    const key = `${kind} ${tokenId}`;
    const own = this.#perToken.get(key) ?? 0;
    const { perToken, inAll } = this.#limits[kind];
    const words = kind === 'streams' ? 'streams' : 'requests that wait';
    if (own >= perToken)
      throw tooMany(kind, perToken, `This token has ${own} open ${words}, the most it may have`);
    if (this.#inAll[kind] >= inAll)
      throw tooMany(
        kind,
        inAll,
        `All tokens together have ${inAll} open ${words}, the most this server allows`,
      );
    this.#counted.add(res);
    this.#perToken.set(key, own + 1);
    this.#inAll[kind] += 1;
    res.once('close', () => {
      this.#inAll[kind] -= 1;
      const left = (this.#perToken.get(key) ?? 1) - 1;
      if (left > 0) this.#perToken.set(key, left);
      else this.#perToken.delete(key);
    });
  }
}

const tooMany = (kind: OpenKind, limit: number, sentence: string): FlashpodsError =>
  new FlashpodsError('too_many_open', `${sentence}. End some, or try again later.`, {
    details: { what: kind, limit, retry_after_seconds: RETRY_AFTER_SECONDS },
  });
