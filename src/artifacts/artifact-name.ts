import { FlashpodsError } from '../errors.ts';

export const MAX_SEGMENT_BYTES = 255;

/**
 * Why a name cannot be an artifact's, or null. An artifact is named by its path relative to `/artifacts`, with `/`
 * between the segments.
 */
export const artifactNameProblem = (name: string): string | null => {
  if (!name.isWellFormed()) return 'is not valid Unicode';
  for (const segment of name.split('/')) {
    if (segment === '') return 'has an empty segment';
    if (segment === '.' || segment === '..') return `has a segment ${JSON.stringify(segment)}`;
    if (segment.includes('\\')) return 'has a backslash';
    if (segment.includes('\0')) return 'has a NUL';
    if (segment.trim() !== segment) return 'has a segment with white space at an end';
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES) {
      return `has a segment of more than ${MAX_SEGMENT_BYTES} bytes`;
    }
  }
  return null;
};

/** @returns the same name @throws FlashpodsError invalid_artifact_name */
export const parseArtifactName = (name: string): string => {
  const problem = artifactNameProblem(name);
  if (problem !== null) throw new FlashpodsError('invalid_artifact_name', `The artifact name ${problem}.`);
  return name;
};
