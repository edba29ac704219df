/** Starts `spool-guard.pl`, which bounds the spools of a host's sandboxes also while no worker reads them. */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { systemCode } from '../../../errors.ts';
import { Keeper } from '../../../lifecycle/keeper.ts';
import type { Logger } from '../../../observability/logger.ts';

const HELPER = fileURLToPath(new URL('./spool-guard.pl', import.meta.url));

export interface SpoolGuardOptions {
  /** The directory of the sandboxes. */
  readonly root: string;
  /** A file that the guards of this root hold, one after the other. */
  readonly lock: string;
  /** What each spool may take of the disk. */
  readonly maxBytes: number;
  readonly logger: Pick<Logger, 'error'>;
}

/** @returns what lets go of it; it ends by itself when no spool is left */
export function guardSpools({ root, lock, maxBytes, logger }: SpoolGuardOptions): () => Promise<void> {
  const keeper = new Keeper({
    name: 'guard of the spools',
    start: () => {
      const child = spawn('perl', [HELPER, root, String(maxBytes), lock], {
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      const exited = Promise.withResolvers<unknown>();
      child.on('error', exited.resolve).on('exit', exited.resolve);
      child.stdin.on('error', () => undefined); // it has ended
      child.unref();
      if (child.stdin instanceof Socket) child.stdin.unref();
      return Promise.resolve({ exited: exited.promise, stop: () => Promise.resolve(void child.stdin.end()) });
    },
    // Without perl there is none, however often it is tried.
    isFinal: (how) => systemCode(how) === 'ENOENT',
    logger,
  });
  void keeper.start();
  return () => keeper.stop();
}
