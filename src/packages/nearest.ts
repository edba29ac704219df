/** Which names are most like one that is not there. */
import { inOrder } from './names.ts';

const SHOWN = 3;
/** Less than this in common is chance. */
const LIKE = 0.4;

/** @param known names to choose from, with repetitions and in any order */
export function nearest(name: string, known: readonly string[]): string[] {
  return inOrder(known)
    .map((candidate) => ({ candidate, likeness: likenessOf(name, candidate) }))
    .filter(({ likeness }) => likeness >= LIKE)
    .sort((a, b) => b.likeness - a.likeness)
    .slice(0, SHOWN)
    .map(({ candidate }) => candidate);
}

/** Part of the pairs of letters that both have, 0 to 1 (Dice's coefficient). */
function likenessOf(a: string, b: string): number {
  const left = pairsOf(a);
  let common = 0;
  for (const [pair, count] of pairsOf(b)) common += Math.min(count, left.get(pair) ?? 0);
  return (2 * common) / (a.length + b.length + 2);
}

/** With its edges, so that the beginning and the end count. */
function pairsOf(text: string): Map<string, number> {
  const pairs = new Map<string, number>();
  const edged = `^${text}$`;
  for (let at = 0; at + 1 < edged.length; at++) {
    const pair = edged.slice(at, at + 2);
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  }
  return pairs;
}
