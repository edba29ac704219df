/** A named token: what is kept of it, and where. The plaintext exists in the answer to its creation only. */
import { createHash, randomBytes } from 'node:crypto';
import type { Scope } from './principal.ts';

/** Times are milliseconds since the Unix epoch. */
export interface Token {
  /** `token_…`; stays unique when a name is used again. */
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly scopes: readonly Scope[];
  readonly createdAt: number;
  /** Id of the token that made this one. */
  readonly createdBy: string;
  readonly expiresAt: number | null;
}

/** Implemented by `src/database/token-store.ts`. Revoked tokens stay there, and none of these shows them. */
export interface TokenStore {
  /**
   * @throws FlashpodsError invalid_request when a token of that name exists, quota_exceeded when there are `atMost`
   */
  create(token: Token, digest: Buffer, atMost: number): Promise<void>;
  byDigest(digest: Buffer): Promise<Token | null>;
  /** By name. */
  list(): Promise<Token[]>;
  /** @returns the token that is one no longer, or null when none has that name */
  revoke(name: string): Promise<Token | null>;
}

/**
 * SHA-256, without salt and without stretching. Those slow down guesses of a password from a stolen hash; a
 * token of 256 random bits can't be guessed at any speed, and a request must not pay 100 ms for its check.
 */
export const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

/** 256 random bits. The prefix lets scanners for leaked secrets, and people, know one when they see it. */
export const newToken = (): string => `fp_${randomBytes(32).toString('base64url')}`;

export const newTokenId = (): string => `token_${randomBytes(9).toString('base64url')}`;
