import { sanitize } from '../terminal.ts';
import { type CommandEntry, loadCatalogue, type Place } from './catalogue.ts';
import { complete, type ServerValues } from './complete.ts';
import type { ServerFlags } from './server-values.ts';

/**
 * What `flashpods __complete WORDS…` prints for the scripts of the shells.
 * @param describe loads the program, when it has changed since the last time
 * @param ask makes what asks the server that the words name
 */
export async function answerCompletion(
  words: readonly string[],
  place: Place,
  describe: () => Promise<CommandEntry>,
  ask: (flags: ServerFlags) => ServerValues,
): Promise<string> {
  const catalogue = await loadCatalogue(place, describe);
  const { candidates, paths } = await complete(words, catalogue, ask);
  const lines = candidates.map(({ value, description }) =>
    description === undefined ? value : `${value}\t${sanitize(description)}`,
  );
  return [...lines, ...(paths === null ? [] : [paths])].map((line) => `${line}\n`).join('');
}
