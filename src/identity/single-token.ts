import { timingSafeEqual } from 'node:crypto';
import type { Principal, TokenVerifier } from './principal.ts';
import { digestOf } from './token.ts';

/**
 * The one token of the configuration: it may do everything, its owner is called `default`, and it can't be revoked
 * but by changing the configuration. It works while the database is away.
 */
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
