import type { Knex } from 'knex';

/** Digests are SHA-256 in hexadecimal; no plaintext of a token or a cookie is anywhere. */
export async function up(db: Knex): Promise<void> {
  await db.schema.createTable('tokens', (table) => {
    table.text('id').primary();
    table.text('name').notNullable();
    // Equals name until the token is revoked, null afterwards: the index frees the name by itself.
    table.text('live_name').unique();
    table.text('digest').notNullable().unique();
    table.text('owner').notNullable();
    table.text('scopes').notNullable();
    table.bigInteger('created_at').notNullable();
    table.text('created_by').notNullable();
    table.bigInteger('expires_at');
    table.bigInteger('revoked_at');
  });
  await db.schema.createTable('sessions', (table) => {
    table.text('digest').primary();
    table.text('token_digest').notNullable();
    table.text('host').notNullable();
    table.bigInteger('expires_at').notNullable();
    table.index(['expires_at']);
  });
}
