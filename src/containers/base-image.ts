/** The image that is made on this machine, of Debian's packages; see images/base. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { systemCode } from '../errors.ts';

/** Runs the jobs of `up` that name no image. */
export const BASE_IMAGE = 'localhost/flashpods/base:latest';

/** Its label that says what it was made of. */
export const INPUTS_LABEL = 'flashpods.base.inputs';

/**
 * What the label would say if it were made now, as `images/base/build` computes it; null without its sources.
 * @param architecture as `dpkg --print-architecture` says it, else `uname -m`
 */
export async function baseImageInputs(architecture: string): Promise<string | null> {
  const hash = createHash('sha256');
  try {
    for (const file of ['build', 'packages'])
      hash.update(await readFile(new URL(`../../images/base/${file}`, import.meta.url)));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  return hash.update(`${architecture}\n`).digest('hex');
}
