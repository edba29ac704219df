import { globOf, Globs, globsProblem } from '../artifacts/globs.ts';
import type { ArtifactAnswer, ArtifactList } from './answers.ts';
import { ClientError } from './client-error.ts';

/** As many patterns as the server takes at once. */
const MAX_MATCH = 50;

export interface ChosenArtifacts {
  readonly artifacts: readonly ArtifactAnswer[];
  /** Globs for just these; null: too many to ask for. */
  readonly match: readonly string[] | null;
}

/**
 * What has one of these names, lies in a directory with one, or matches one as a glob. A name that is there is never
 * read as a glob.
 * @throws ClientError artifact_not_found for one that finds nothing, invalid_arguments
 */
export function chooseArtifacts(
  { artifacts }: Pick<ArtifactList, 'artifacts'>,
  id: string,
  patterns: readonly string[],
): ChosenArtifacts {
  const names = new Set(artifacts.map(({ name }) => name));
  const match = patterns.map((pattern) => (names.has(pattern) ? globOf(pattern) : pattern));
  const chosen = new Set<string>();
  for (const [index, pattern] of match.entries()) {
    // A name such as ../a can be no pattern, and is no artifact's either.
    const globs = globsProblem([pattern]) === null ? new Globs([pattern]) : null;
    const found = artifacts.filter(({ name }) => globs?.matches(name));
    if (found.length === 0) {
      const message = `The job ${id} left no artifact ${JSON.stringify(patterns[index])}.`;
      throw new ClientError('artifact_not_found', message, { status: 404 });
    }
    for (const { name } of found) chosen.add(name);
  }
  return {
    artifacts: artifacts.filter(({ name }) => chosen.has(name)),
    match: match.length <= MAX_MATCH ? match : null,
  };
}

/** Bytes of files; a symlink has none of its own. */
export const bytesOf = (artifacts: readonly ArtifactAnswer[]): number =>
  artifacts.reduce((sum, { type, size_bytes }) => sum + (type === 'symlink' ? 0 : size_bytes), 0);

/** For one that is fetched as a file: a symlink has the bytes, the mode and the time of what it leads to. */
export function fileOf(
  { artifacts }: Pick<ArtifactList, 'artifacts'>,
  artifact: ArtifactAnswer,
): ArtifactAnswer {
  const end = artifacts.find(({ name }) => name === artifact.leads_to);
  return end === undefined ? artifact : { ...end, name: artifact.name };
}
