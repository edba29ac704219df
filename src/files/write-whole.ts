/** Small files that readers see as they were or as they are, never in between, whenever the writer dies. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface WriteWholeOptions {
  /** 0600 by default. */
  readonly mode?: number;
  /** The file survives a power cut once the promise is resolved: file and directory are synchronised. */
  readonly durable?: boolean;
}

const DRAFT = '.draft';
let drafts = 0;

/** Several writers of one file don't meet in its draft. */
const draftOf = (path: string): string => `${path}.${process.pid}-${(drafts += 1)}${DRAFT}`;

/** Whether the name is of a file that is being written, or that a crash left half written. */
export const isDraft = (name: string): boolean => name.endsWith(DRAFT);

export async function writeWhole(
  path: string,
  data: string | Uint8Array,
  { mode = 0o600, durable = false }: WriteWholeOptions = {},
): Promise<void> {
  const draft = draftOf(path);
  try {
    const file = await open(draft, 'wx', mode);
    try {
      await file.writeFile(data);
      if (durable) await file.datasync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined); // the first error tells more
    throw error;
  }
  if (durable) await syncDirectory(dirname(path));
}

/** {@link writeWhole} at once, and not durable. */
export function writeWholeSync(path: string, data: string | Uint8Array, mode = 0o600): void {
  const draft = draftOf(path);
  try {
    writeFileSync(draft, data, { mode, flag: 'wx' });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
