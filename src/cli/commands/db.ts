/** The database of the server on this machine: checked, or made smaller. */
import { checkDatabase, DatabaseUnusable, vacuumDatabase } from '../../database/maintenance.ts';
import { ExitCode } from '../exit-code.ts';
import { showBytes } from '../quantity.ts';
import type { Output } from '../terminal.ts';

export type DbAction = 'check' | 'vacuum';

export interface DbResources {
  readonly out: Output;
  readonly err: Output;
  readonly path: string;
  readonly json: boolean;
  /** How long `vacuum` waits for the write lock of another process. */
  readonly patienceMs: number;
}

/** @returns 1 when something is wrong with the database */
export async function db(action: DbAction, resources: DbResources): Promise<number> {
  try {
    return action === 'check' ? await check(resources) : await vacuum(resources);
  } catch (error) {
    if (!(error instanceof DatabaseUnusable)) throw error;
    await resources.err.line(`flashpods: ${error.message}`);
    return ExitCode.error;
  }
}

async function check({ out, path, json }: DbResources): Promise<number> {
  const checks = await checkDatabase(path);
  const sound = checks.every(({ problems }) => problems.length === 0);
  if (json) await out.json({ path, sound, checks });
  else {
    for (const { name, problems } of checks) {
      await out.line(problems.length === 0 ? `${name}: ok` : `${name}: ${problems.join('; ')}`);
    }
  }
  return sound ? ExitCode.fine : ExitCode.error;
}

async function vacuum({ out, path, json, patienceMs }: DbResources): Promise<number> {
  const { bytesBefore, bytesAfter } = await vacuumDatabase(path, patienceMs);
  if (json) await out.json({ path, bytes_before: bytesBefore, bytes_after: bytesAfter });
  else await out.line(`${path}: ${showBytes(bytesBefore)} before, ${showBytes(bytesAfter)} after`);
  return ExitCode.fine;
}
