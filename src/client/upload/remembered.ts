/**
 * What the last upload of a directory to a server was, in the user's cache directory: the next one sends only what has
 * changed since. Losing it costs time and nothing else.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { writeWhole } from '../../files/write-whole.ts';
import type { Connection } from '../connection.ts';
import type { Tree } from './tree.ts';

export interface Remembered {
  readonly uploadId: string;
  /** Path → stamp of everything it held; null for what may have changed unnoticed since. */
  readonly stamps: ReadonlyMap<string, string | null>;
  /** Earlier uploads of the directory that nobody will build upon any more, with the time they were replaced. */
  readonly superseded: readonly { readonly uploadId: string; readonly atMs: number }[];
}

interface Stored {
  readonly version: 2;
  readonly upload_id: string;
  readonly stamps: readonly (readonly [path: string, stamp: string | null])[];
  readonly superseded: readonly { readonly uploadId: string; readonly atMs: number }[];
}

const fileOf = ({ cacheDir, url }: Connection, root: string): string => {
  const name = createHash('sha256').update(`${url.href}\0${root}`).digest('hex').slice(0, 32);
  return join(cacheDir, 'uploads', `${name}.json`);
};

/** @returns null when nothing is known, or what is known can't be read */
export async function recall(connection: Connection, root: string): Promise<Remembered | null> {
  try {
    const stored: unknown = JSON.parse(await readFile(fileOf(connection, root), 'utf8'));
    if (!isStored(stored)) return null;
    return { uploadId: stored.upload_id, stamps: new Map(stored.stamps), superseded: stored.superseded };
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) !== undefined) return null;
    throw error;
  }
}

/** Does nothing where there is no place for it. */
export async function remember(
  connection: Connection,
  tree: Tree,
  uploadId: string,
  superseded: Remembered['superseded'],
): Promise<void> {
  const stored: Stored = {
    version: 2,
    upload_id: uploadId,
    stamps: tree.entries.map(({ path, stamp }) => [path, stamp]),
    superseded,
  };
  const file = fileOf(connection, tree.root);
  try {
    await mkdir(join(connection.cacheDir, 'uploads'), { recursive: true, mode: 0o700 });
    await writeWhole(file, JSON.stringify(stored));
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
}

export async function forget(connection: Connection, root: string): Promise<void> {
  await rm(fileOf(connection, root), { force: true }).catch(() => undefined);
}

const isPair = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length === 2 &&
  typeof value[0] === 'string' &&
  (value[1] === null || typeof value[1] === 'string');

function isStored(value: unknown): value is Stored {
  if (typeof value !== 'object' || value === null) return false;
  const { version, upload_id, stamps, superseded } = value as Partial<Record<keyof Stored, unknown>>;
  return (
    version === 2 &&
    typeof upload_id === 'string' &&
    Array.isArray(stamps) &&
    stamps.every(isPair) &&
    Array.isArray(superseded) &&
    superseded.every(
      (item: unknown) =>
        typeof item === 'object' && item !== null && 'uploadId' in item && typeof item.uploadId === 'string',
    )
  );
}
