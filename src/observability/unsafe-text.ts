/** Text of unknown origin: what in it a terminal, or a reader of a log, would obey. */

/** Control characters but tab and newline, C1 included, and what turns the direction of writing. */
export const UNSAFE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f]/g;
/** A colour (SGR, ECMA-48 8.3.117). */
export const COLOUR = /\u001b\[[0-9;:]{0,64}m/g;
const COLOUR_OR_UNSAFE = new RegExp(`(${COLOUR.source})|${UNSAFE.source}`, 'g');

/**
 * Escape sequences, ECMA-48 5.4 and 8.3: CSI, strings (OSC, DCS and such) and the short ones. None of them reaches over
 * another's beginning: the time of `stripVTControlCharacters` grows faster than the square of a text that begins many.
 */
const ESCAPES =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])[^\u0007\u001b\u0090-\u009f]*(?:\u0007|\u001b\\|\u009c)|\u001b[ -/]*[0-~]/g;

/** Text without its escape sequences, in time that grows with its length only. */
export const withoutEscapes = (text: string): string => text.replaceAll(ESCAPES, '');

const hex = (character: string, digits: number): string =>
  character.charCodeAt(0).toString(16).padStart(digits, '0');
const escaped = (character: string): string => `\\u${hex(character, 4)}`;
const inText = (character: string): string =>
  character === '\r' ? '\\r' : character <= '\u00ff' ? `\\x${hex(character, 2)}` : escaped(character);

/**
 * Text as a terminal may have it: colours, tabs and newlines pass, and every other escape sequence, control character
 * (C1 included) and bidirectional control is shown as text: `\x1b]52;c;…\x07`.
 */
export const forTerminal = (text: string): string =>
  text.replaceAll(COLOUR_OR_UNSAFE, (found, colour: string | undefined) => colour ?? inText(found));

/** Characters of a name that a job chose, wherever it stands in what we say. */
export const MAX_NAME = 80;

/** Whether a name may stand in advice, or in a call that is to be copied: no blanks, so that no sentence does. */
export const isPlainName = (name: string): boolean =>
  name.length <= MAX_NAME && /^[\p{L}\p{N}_.+@=,~/-]+$/u.test(name);

/** The same JSON value, spelt so that a terminal sees nothing to obey. */
export const jsonForTerminal = (json: string): string => json.replaceAll(UNSAFE, escaped);
