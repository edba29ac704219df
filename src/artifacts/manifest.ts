import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ifMissing } from '../files/if-missing.ts';

/** No artifact can have this name, since it holds a backslash: it lies among them without a conflict. */
const MANIFEST_NAME = '\\manifest.json';

const manifestSchema = z.object({
  artifacts: z.array(z.object({ name: z.string(), size_bytes: z.int().min(0), sha256: z.string() })),
  warnings: z.array(z.string()),
});

export interface Artifact {
  readonly name: string;
  readonly size_bytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/** The outcome of a collection, stored with it: a directory that holds one is complete. */
export interface Manifest {
  /** Sorted by name. */
  readonly artifacts: readonly Artifact[];
  /** What was left out and why, for the job's owner; a bounded number of bounded lines. */
  readonly warnings: readonly string[];
}

/** @returns null when the directory is missing or no complete collection. */
export const readManifest = async (directory: string): Promise<Manifest | null> => {
  try {
    const parsed: unknown = JSON.parse(await readFile(join(directory, MANIFEST_NAME), 'utf8'));
    return manifestSchema.parse(parsed);
  } catch (error) {
    // A manifest that a power failure spoilt is no manifest: collect again.
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null;
    return ifMissing(null, 'ENOTDIR')(error);
  }
};

export const writeManifest = (directory: string, manifest: Manifest): Promise<void> =>
  writeFile(join(directory, MANIFEST_NAME), JSON.stringify(manifest), { mode: 0o600, flag: 'wx' });
