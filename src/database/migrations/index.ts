import type { Knex } from 'knex';
import { up as first } from './0001-first.ts';
import { up as tokens } from './0002-tokens.ts';
import { up as uploadBases } from './0003-upload-bases.ts';
import { up as tenants } from './0004-tenants.ts';
import { up as hosts } from './0005-hosts.ts';
import { up as lists } from './0006-lists.ts';
import { up as writable } from './0007-writable.ts';
import { up as events } from './0008-events.ts';
import { up as errorCode } from './0009-error-code.ts';
import { up as shell } from './0010-shell.ts';
import { up as root } from './0011-root.ts';
import { up as errorLines } from './0012-error-lines.ts';
import { up as artifactKinds } from './0013-artifact-kinds.ts';
import { up as packages } from './0014-packages.ts';
import { up as artifactPatterns } from './0015-artifact-patterns.ts';
import { up as merge } from './0016-merge.ts';
import { up as disk } from './0017-disk.ts';
import { up as uploadWeights } from './0018-upload-weights.ts';
import { up as notes } from './0019-notes.ts';
import { up as keep } from './0020-keep.ts';
import { up as caches } from './0021-caches.ts';

/** Applied in this order, once each. An applied migration never changes; its name is what the database remembers. */
export const MIGRATIONS: readonly { readonly name: string; up(db: Knex): Promise<void> }[] = [
  { name: '0001-first', up: first },
  { name: '0002-tokens', up: tokens },
  { name: '0003-upload-bases', up: uploadBases },
  { name: '0004-tenants', up: tenants },
  { name: '0005-hosts', up: hosts },
  { name: '0006-lists', up: lists },
  { name: '0007-writable', up: writable },
  { name: '0008-events', up: events },
  { name: '0009-error-code', up: errorCode },
  { name: '0010-shell', up: shell },
  { name: '0011-root', up: root },
  { name: '0012-error-lines', up: errorLines },
  { name: '0013-artifact-kinds', up: artifactKinds },
  { name: '0014-packages', up: packages },
  { name: '0015-artifact-patterns', up: artifactPatterns },
  { name: '0016-merge', up: merge },
  { name: '0017-disk', up: disk },
  { name: '0018-upload-weights', up: uploadWeights },
  { name: '0019-notes', up: notes },
  { name: '0020-keep', up: keep },
  { name: '0021-caches', up: caches },
];
