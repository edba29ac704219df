/** A browser that is signed in. */

export interface Session {
  /** Of the token that it was opened with: looked up again at every use, so that a revoked token ends its sessions. */
  readonly tokenDigest: Buffer;
  /** The `Host` that the browser signed in at; the cookie opens nothing under another name. */
  readonly host: string;
  /** Milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** Keyed by the digest of the cookie's secret. Implemented by `src/database/session-store.ts`. */
export interface SessionStore {
  /** Also forgets what is expired, and the oldest beyond `atMost`. */
  add(secretDigest: Buffer, session: Session, atMost: number): Promise<void>;
  /** @returns null for one that is unknown or expired */
  find(secretDigest: Buffer): Promise<Session | null>;
  remove(secretDigest: Buffer): Promise<void>;
}
