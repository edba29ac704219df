/** `flashpods db`: finds the database by the settings. */
import { type Flags, loadConfig } from '../../src/config.ts';
import { db, type DbAction } from '../../src/cli/commands/db.ts';
import type { Output } from '../../src/cli/terminal.ts';

/** Longer than any write of the server takes that goes well. */
const PATIENCE_MS = 10_000;

export interface DbOptions extends Flags {
  readonly json?: boolean;
}

/** @throws ConfigError */
export async function runDb(
  action: DbAction,
  { json = false, ...flags }: DbOptions,
  { out, err }: { readonly out: Output; readonly err: Output },
): Promise<number> {
  return db(action, { out, err, json, path: loadConfig(flags).dbPath, patienceMs: PATIENCE_MS });
}
