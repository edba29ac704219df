/** The beginning and the end of a text that is too long to be shown, with no character cut in two. */

const isWithin = (text: string, at: number): boolean =>
  (text.charCodeAt(at - 1) & 0xfc00) === 0xd800 && (text.charCodeAt(at) & 0xfc00) === 0xdc00;

/** @param max UTF-16 units; one less where a character lies across them */
export const beginningOf = (text: string, max: number): string =>
  text.slice(0, isWithin(text, max) ? max - 1 : max);

/** @param max as for {@link beginningOf} */
export function endOf(text: string, max: number): string {
  const from = Math.max(0, text.length - max);
  return text.slice(isWithin(text, from) ? from + 1 : from);
}
