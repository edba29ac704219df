import { randomBytes } from 'node:crypto';
import { digestOf } from './tokens.ts';

/** Hours that a browser stays signed in. */
const LIFETIME_MS = 12 * 3_600_000;
/** Beyond this the oldest sessions end: memory stays bounded whatever signs in. */
const MAX_SESSIONS = 1_000;

export interface Session {
  readonly tokenDigest: Buffer;
  /** The `Host` that the browser signed in at; the cookie opens nothing under another name. */
  readonly host: string;
  readonly expiresAt: number;
}

/**
 * Signed-in browsers of this process. Only digests are kept: of the cookie's secret as key, of the token as value.
 * The token is looked up again at every use, so that a revoked token ends its sessions.
 */
export class Sessions {
  readonly #byDigest = new Map<string, Session>();

  /** @returns the secret for the cookie */
  open(tokenDigest: Buffer, host: string): string {
    const secret = randomBytes(32).toString('base64url');
    const oldest = this.#byDigest.keys().next();
    if (this.#byDigest.size >= MAX_SESSIONS && !oldest.done) this.#byDigest.delete(oldest.value);
    this.#byDigest.set(key(secret), { tokenDigest, host, expiresAt: Date.now() + LIFETIME_MS });
    return secret;
  }

  find(secret: string): Session | null {
    const session = this.#byDigest.get(key(secret));
    if (!session) return null;
    if (session.expiresAt > Date.now()) return session;
    this.#byDigest.delete(key(secret));
    return null;
  }

  close(secret: string): void {
    this.#byDigest.delete(key(secret));
  }
}

export const SESSION_LIFETIME_MS = LIFETIME_MS;

const key = (secret: string): string => digestOf(secret).toString('base64url');
