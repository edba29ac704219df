import type { Knex } from 'knex';
import { up as first } from './0001-first.ts';

/** Applied in this order, once each. An applied migration never changes; its name is what the database remembers. */
export const MIGRATIONS: readonly { readonly name: string; up(db: Knex): Promise<void> }[] = [
  { name: '0001-first', up: first },
];
