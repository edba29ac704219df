import { timingSafeEqual } from 'node:crypto';
import { FlashpodsError } from '../errors.ts';
import type { Scope } from '../identity/principal.ts';
import type { Token, TokenStore } from '../identity/token.ts';
import { type Database, isUniqueViolation } from './database.ts';
import type { Row } from './row.ts';

interface TokenRow extends Row<Token> {
  live_name: string | null;
  digest: string;
  revoked_at: number | null;
}

/** {@link TokenStore} on knex. */
export class KnexTokenStore implements TokenStore {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async create(token: Token, digest: Buffer, atMost: number): Promise<void> {
    try {
      await this.#db.write(async (trx) => {
        await trx<TokenRow>('tokens').insert({
          id: token.id,
          name: token.name,
          live_name: token.name,
          digest: digest.toString('hex'),
          owner: token.owner,
          scopes: JSON.stringify(token.scopes),
          created_at: token.createdAt,
          created_by: token.createdBy,
          expires_at: token.expiresAt,
        });
        const counted = await trx<TokenRow>('tokens')
          .whereNotNull('live_name')
          .count({ count: '*' })
          .first<{ count: number | string }>();
        if (Number(counted.count) > atMost)
          throw new FlashpodsError('quota_exceeded', `There are ${atMost} tokens; revoke some.`);
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new FlashpodsError('invalid_request', '`name`: a token of this name exists; revoke it first', {
        details: { field: 'name' },
      });
    }
  }

  /**
   * The index finds the row by a digest, about which an attacker who measures times learns nothing that leads back
   * to a token; what is found is compared in constant time all the same.
   */
  async byDigest(digest: Buffer): Promise<Token | null> {
    const row = await this.#db.read((db) =>
      db<TokenRow>('tokens')
        .where({ digest: digest.toString('hex') })
        .whereNotNull('live_name')
        .first(),
    );
    return row && timingSafeEqual(Buffer.from(row.digest, 'hex'), digest) ? toToken(row) : null;
  }

  async list(): Promise<Token[]> {
    const rows = await this.#db.read((db) =>
      db<TokenRow>('tokens').whereNotNull('live_name').orderBy('live_name'),
    );
    return rows.map(toToken);
  }

  async revoke(name: string): Promise<Token | null> {
    return this.#db.write(async (trx) => {
      const [row] = await trx<TokenRow>('tokens')
        .where({ live_name: name })
        .update({ live_name: null, revoked_at: Date.now() })
        .returning('*');
      return row ? toToken(row) : null;
    });
  }
}

const toToken = (row: TokenRow): Token => ({
  id: row.id,
  name: row.name,
  owner: row.owner,
  scopes: JSON.parse(row.scopes) as Scope[],
  createdAt: Number(row.created_at),
  createdBy: row.created_by,
  expiresAt: row.expires_at === null ? null : Number(row.expires_at),
});
