import type { ClientEnvironment } from '../../client/environment.ts';
import { sanitize } from '../terminal.ts';
import { type CommandEntry, loadCatalogue } from './catalogue.ts';
import { complete } from './complete.ts';
import { serverValues } from './server-values.ts';

/**
 * What `flashpods __complete WORDS…` prints for the scripts of the shells.
 * @param describe loads the program, when it has changed since the last time
 */
export async function answerCompletion(
  words: readonly string[],
  env: ClientEnvironment,
  describe: () => Promise<CommandEntry>,
): Promise<string> {
  const catalogue = await loadCatalogue(env.cacheDir, describe);
  const { candidates, paths } = await complete(words, catalogue, (flags) => serverValues(flags, env));
  const lines = candidates.map(({ value, description }) =>
    description === undefined ? value : `${value}\t${sanitize(description)}`,
  );
  return [...lines, ...(paths === null ? [] : [paths])].map((line) => `${line}\n`).join('');
}
