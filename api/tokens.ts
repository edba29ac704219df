import { createHash, timingSafeEqual } from 'node:crypto';

export const SCOPES = ['jobs:read', 'jobs:write', 'uploads:write', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** Who asks. `admin` includes every other scope and sees every owner's things. */
export interface Principal {
  /** Names the token without revealing it; the rate limit counts by it. */
  readonly tokenId: string;
  readonly owner: string;
  readonly scopes: ReadonlySet<Scope>;
}

/** Knows tokens by their SHA-256 only, so that nothing it keeps opens a door. */
export interface TokenVerifier {
  /** The holder of the token with this digest, now; null when there is none (any more). Takes constant time. */
  find(digest: Buffer): Promise<Principal | null>;
}

export const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

/** The one token of a small installation: it may do everything; its owner is called `default`. */
export class SingleToken implements TokenVerifier {
  readonly #digest: Buffer;
  readonly #principal: Principal = {
    tokenId: 'default',
    owner: 'default',
    scopes: new Set(['admin'] as const),
  };

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  find(digest: Buffer): Promise<Principal | null> {
    return Promise.resolve(timingSafeEqual(digest, this.#digest) ? this.#principal : null);
  }
}
