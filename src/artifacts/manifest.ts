import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ifMissing } from '../files/if-missing.ts';
import { writeFully } from '../files/read-fully.ts';
import { type Directory, rawName } from '../trees/directory.ts';
import { constants } from 'node:fs';

/** No artifact can have this name, since it holds a backslash: it lies among them without a conflict. */
const MANIFEST_NAME = '\\manifest.json';

const ARTIFACT_TYPES = ['file', 'symlink', 'directory'] as const;

const artifactSchema = z.object({
  name: z.string(),
  type: z.enum(ARTIFACT_TYPES),
  size_bytes: z.int().min(0),
  sha256: z.string().nullable(),
  mode: z.int().min(0).max(0o777),
  mtime_ns: z.string().regex(/^-?\d+$/),
  link_target: z.string().nullable(),
  leads_to: z.string().nullable(),
});

const manifestSchema = z.object({
  artifacts: z.array(artifactSchema),
  directories: z.array(artifactSchema),
  warnings: z.array(z.string()),
});

export interface Artifact {
  readonly name: string;
  /** `directory`: one with nothing in it. */
  readonly type: (typeof ARTIFACT_TYPES)[number];
  /** Of a symlink: of the file that it leads to. Else 0 for what is no file. */
  readonly size_bytes: number;
  /** Lower-case hexadecimal; null where there are no bytes. Of a symlink: of the file that it leads to. */
  readonly sha256: string | null;
  /** Permissions of user, group and others. */
  readonly mode: number;
  /** Whole nanoseconds since the Unix epoch, in decimal. */
  readonly mtime_ns: string;
  /** Of a symlink: plain, see `link-target.ts`. */
  readonly link_target: string | null;
  /** Of a symlink: name of the artifact with its bytes, if it leads to one. */
  readonly leads_to: string | null;
}

/** The outcome of a collection, stored with it: a directory that holds one is complete. */
export interface Manifest {
  /** Sorted by name. */
  readonly artifacts: readonly Artifact[];
  /** Those that hold artifacts. Sorted by name. */
  readonly directories: readonly Artifact[];
  /** What was left out and why, for the job's owner; a bounded number of bounded lines. */
  readonly warnings: readonly string[];
}

/** @returns null when the directory is missing or no complete collection. */
export const readManifest = async (directory: string): Promise<Manifest | null> => {
  try {
    const parsed: unknown = JSON.parse(await readFile(join(directory, MANIFEST_NAME), 'utf8'));
    return manifestSchema.parse(parsed);
  } catch (error) {
    // A manifest that a power failure spoilt, or an older version wrote, is no manifest: collect again.
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null;
    return ifMissing(null, 'ENOTDIR')(error);
  }
};

export const writeManifest = async (directory: Directory, manifest: Manifest): Promise<void> => {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const file = await directory.openFile(rawName(MANIFEST_NAME), flags, 0o600);
  try {
    await writeFully(file, Buffer.from(JSON.stringify(manifest)), 0);
  } finally {
    await file.close();
  }
};
