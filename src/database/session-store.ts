import type { Session, SessionStore } from '../identity/session.ts';
import type { Database } from './database.ts';

interface SessionRow {
  digest: string;
  token_digest: string;
  host: string;
  expires_at: number;
}

/** {@link SessionStore} on knex: every API process of the database knows the same browsers. */
export class KnexSessionStore implements SessionStore {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async add(secretDigest: Buffer, session: Session, atMost: number): Promise<void> {
    await this.#db.write(async (trx) => {
      await trx<SessionRow>('sessions').insert({
        digest: secretDigest.toString('hex'),
        token_digest: session.tokenDigest.toString('hex'),
        host: session.host,
        expires_at: session.expiresAt,
      });
      await trx<SessionRow>('sessions').where('expires_at', '<=', Date.now()).delete();
      const kept = trx<SessionRow>('sessions').orderBy('expires_at', 'desc').limit(atMost).select('digest');
      await trx<SessionRow>('sessions').whereNotIn('digest', kept).delete();
    });
  }

  async find(secretDigest: Buffer): Promise<Session | null> {
    const row = await this.#db.read((db) =>
      db<SessionRow>('sessions')
        .where({ digest: secretDigest.toString('hex') })
        .where('expires_at', '>', Date.now())
        .first(),
    );
    if (!row) return null;
    return {
      tokenDigest: Buffer.from(row.token_digest, 'hex'),
      host: row.host,
      expiresAt: Number(row.expires_at),
    };
  }

  async remove(secretDigest: Buffer): Promise<void> {
    await this.#db.write((trx) =>
      trx<SessionRow>('sessions')
        .where({ digest: secretDigest.toString('hex') })
        .delete(),
    );
  }
}
