/**
 * Makes one file of all that completion loads: a module takes Node half a millisecond, and a dozen of them a fifth of the
 * time that somebody waits after Tab. In a checkout the file lies in `.node/`, and `flashpods` uses it while it is newer
 * than what it was made of; what it does not hold is loaded from where it is.
 *
 *   node scripts/bundle-completion.ts
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** The program itself, for when it has changed. */
const LOADED_LATER = /\/(program|commands)\.[jt]s$/;

/** @returns the paths of the modules that are in it. The file must lie as deep below the root as `bin/complete.ts`. */
export async function bundleCompletion(input: string, file: string): Promise<readonly string[]> {
  const bundle = await rolldown({
    input,
    external: LOADED_LATER,
    platform: 'node',
    makeAbsoluteExternalsRelative: false,
  });
  try {
    const draft = `${file}.${process.pid}`;
    const { output } = await bundle.write({ file: draft, format: 'esm', codeSplitting: false });
    await rename(draft, file);
    return output.flatMap((chunk) => (chunk.type === 'chunk' ? chunk.moduleIds : []));
  } finally {
    await bundle.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await bundleCompletion(join(ROOT, 'bin/complete.ts'), join(ROOT, '.node/complete.mjs'));
