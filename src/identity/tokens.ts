/** The tokens of an installation: the one of its configuration, and those that admins make. */
import { FlashpodsError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { RecentMap } from '../recent-map.ts';
import { type Principal, type Scope, SCOPES, type TokenVerifier } from './principal.ts';
import { digestOf, newToken, newTokenId, type Token, type TokenStore } from './token.ts';

export interface TokensResources {
  readonly store: TokenStore;
  /** The token of the configuration. */
  readonly first: TokenVerifier;
  readonly logger: Logger;
  /**
   * How long a process goes on believing in a token without asking the database, ms. Every process sees a revocation
   * within this time, also while Redis is away. Default 400.
   */
  readonly freshMs?: number;
}

export interface NewTokenRequest {
  readonly name: string;
  readonly owner: string;
  readonly scopes: readonly Scope[];
  readonly expiresAt: number | null;
}

const FRESH_MS = 400;
/** Tokens that are believed in at once; the one looked up longest ago goes first. */
const MAX_CACHED = 10_000;
/** Far more than anybody names; lists are not paged. */
const MAX_TOKENS = 1_000;

interface Cached {
  readonly until: number;
  readonly token: Promise<Token | null>;
}

export class Tokens implements TokenVerifier {
  readonly #r: TokensResources;
  readonly #freshMs: number;
  readonly #cache = new RecentMap<string, Cached>(MAX_CACHED);

  constructor(resources: TokensResources) {
    this.#r = resources;
    this.#freshMs = resources.freshMs ?? FRESH_MS;
  }

  /** @throws FlashpodsError database_error; a token is never taken for valid because nobody could be asked */
  async find(digest: Buffer): Promise<Principal | null> {
    const first = await this.#r.first.find(digest);
    if (first) return first;
    const token = await this.#lookUp(digest);
    if (!token || isOver(token)) return null;
    return { tokenId: token.id, owner: token.owner, scopes: new Set(token.scopes) };
  }

  /**
   * @returns the token, and its plaintext for the only time
   * @throws FlashpodsError invalid_request (the name is taken, or the time is past), quota_exceeded
   */
  async create(request: NewTokenRequest, by: Principal): Promise<{ token: Token; plaintext: string }> {
    if (request.expiresAt !== null && request.expiresAt <= Date.now()) {
      throw new FlashpodsError('invalid_request', '`expires_at`: must be in the future', {
        details: { field: 'expires_at' },
      });
    }
    const plaintext = newToken();
    const token: Token = {
      id: newTokenId(),
      name: request.name,
      owner: request.owner,
      scopes: SCOPES.filter((scope) => request.scopes.includes(scope)),
      createdAt: Date.now(),
      createdBy: by.tokenId,
      expiresAt: request.expiresAt,
    };
    await this.#r.store.create(token, digestOf(plaintext), MAX_TOKENS);
    const { id, name, owner, scopes } = token;
    this.#r.logger.info({ token_id: id, name, owner, scopes, by: by.tokenId }, 'a token was made');
    return { token, plaintext };
  }

  /** Those that were not revoked, expired ones too, by name; without the one of the configuration. */
  list(): Promise<Token[]> {
    return this.#r.store.list();
  }

  /** The token opens nothing any longer: at once in this process, within `freshMs` in every other. */
  async revoke(name: string, by: Principal): Promise<void> {
    const revoked = await this.#r.store.revoke(name);
    if (!revoked)
      throw new FlashpodsError('not_found', `There is no token ${JSON.stringify(name.slice(0, 64))}.`);
    this.#cache.clear();
    this.#r.logger.info({ token_id: revoked.id, name, by: by.tokenId }, 'a token was revoked');
  }

  /** Requests that come together ask the database once. What is not found is not kept: guesses differ. */
  #lookUp(digest: Buffer): Promise<Token | null> {
    const key = digest.toString('base64');
    const now = performance.now();
    const cached = this.#cache.get(key);
    if (cached && now < cached.until) return cached.token;
    // The time counts from before the question, so that an answer older than a revocation is not kept longer.
    const asked: Cached = { until: now + this.#freshMs, token: this.#r.store.byDigest(digest) };
    const forget = (): void => {
      if (this.#cache.get(key) === asked) this.#cache.delete(key);
    };
    this.#cache.set(key, asked);
    asked.token.then((token) => token ?? forget(), forget);
    return asked.token;
  }
}

/** By this machine's clock: one that is wrong by an hour is wrong about an expiry by an hour. */
const isOver = ({ expiresAt }: Token): boolean => expiresAt !== null && expiresAt <= Date.now();
