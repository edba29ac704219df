/** A program that a job wanted and its image has not: found in its log, and answered with the images that have it. */
import { isPlainName } from '../observability/unsafe-text.ts';
import { shortName } from './description.ts';

/** Of a program without a path: one with a path is usually the project's own. */
const NAME = String.raw`([A-Za-z0-9_][A-Za-z0-9_.+-]*)`;
/** In the words of dash, bash, busybox; make; env, nohup, timeout, xargs; Go's and Rust's standard libraries; cargo. */
const PATTERNS = [
  String.raw`(?:^|: )(?:line )?\d+: ${NAME}: (?:command )?not found$`,
  String.raw`^\S*sh: ${NAME}: (?:command )?not found$`,
  String.raw`: ${NAME}: command not found$`,
  String.raw`^\S*make(?:\[\d+\])?: ${NAME}: No such file or directory$`,
  String.raw`\b(?:env|xargs|sudo): [‘'"\x60]?${NAME}['’"]?: (?:No such file or directory|command not found)$`,
  String.raw`failed to run command [‘'\x60]${NAME}['’]: No such file or directory$`,
  String.raw`exec: "${NAME}": executable file not found`,
  String.raw`linker [‘'\x60]${NAME}[\x60'’] not found`,
  String.raw`^Can't exec "${NAME}": No such file or directory`,
].map((pattern) => new RegExp(pattern));

/** @returns the program that a line of a log says is not there; null when it says no such thing */
export function missingProgram(line: string): string | null {
  const text = line.trimEnd();
  // What is long is no message of a shell, and would only cost time.
  if (text.length > 500) return null;
  for (const pattern of PATTERNS) {
    const name = pattern.exec(text)?.[1];
    // A longer one could be a sentence.
    if (name !== undefined && isPlainName(name)) return name;
  }
  return null;
}

interface NamedImage {
  readonly name: string;
  readonly reference: string;
}

/**
 * What to do about it, in sentences; null when the image of the job has the program after all.
 * @param found images that have it, and those that would have it once they are made
 */
export function missingProgramAdvice(
  program: string,
  image: string | undefined,
  found: { readonly images: readonly NamedImage[]; readonly buildable: readonly { readonly name: string }[] },
): string | null {
  if (found.images.some(({ reference }) => reference === image)) return null;
  const names = found.images.map(({ name }) => name);
  const missing = `The image${image === undefined ? '' : ` ${shortName(image)}`} has no \`${program}\`.`;
  if (names.length > 0)
    return `${missing} ${names.length === 1 ? 'This image has it' : 'These images have it'}: ${names.slice(0, 6).join(', ')}.`;
  const [first] = found.buildable;
  return first
    ? `${missing} No image here has it; \`flashpods image build ${first.name}\` on the host makes one that does.`
    : `${missing} No image here is known to have it: name the Debian package that has it in \`packages\` (\`--packages\`), send it along, or name another image.`;
}
