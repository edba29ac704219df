import type { Knex } from 'knex';
import { up as first } from './0001-first.ts';
import { up as tokens } from './0002-tokens.ts';
import { up as uploadBases } from './0003-upload-bases.ts';

/** Applied in this order, once each. An applied migration never changes; its name is what the database remembers. */
export const MIGRATIONS: readonly { readonly name: string; up(db: Knex): Promise<void> }[] = [
  { name: '0001-first', up: first },
  { name: '0002-tokens', up: tokens },
  { name: '0003-upload-bases', up: uploadBases },
];
