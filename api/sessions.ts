import { randomBytes } from 'node:crypto';
import type { Session, SessionStore } from '../src/identity/session.ts';
import { digestOf } from '../src/identity/token.ts';

/** Time that a browser stays signed in. */
export const SESSION_LIFETIME_MS = 12 * 3_600_000;
/** Beyond this the oldest sessions end: the table stays small, no matter how many sign in. */
const MAX_SESSIONS = 1_000;

/** Cookies of signed-in browsers; good at every API process of the same database. Only digests are kept. */
export class Sessions {
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
  }

  /** @returns the secret for the cookie */
  async open(tokenDigest: Buffer, host: string): Promise<string> {
    const secret = randomBytes(32).toString('base64url');
    const expiresAt = Date.now() + SESSION_LIFETIME_MS;
    await this.#store.add(digestOf(secret), { tokenDigest, host, expiresAt }, MAX_SESSIONS);
    return secret;
  }

  find(secret: string): Promise<Session | null> {
    return this.#store.find(digestOf(secret));
  }

  close(secret: string): Promise<void> {
    return this.#store.remove(digestOf(secret));
  }
}
