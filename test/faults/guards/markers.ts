/** Where the marked statements stand in the product, and how one of them is replaced. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const PRODUCT = ['api', 'bin', 'processors', 'queues', 'src'];
const MARKER = /^ *(?:\/\/|--) guard: (.*)$/;

const indentOf = (line: string): number => line.search(/\S/);
const closes = (line: string): boolean => /^\s*([)}\]]|end\b)/.test(line);

/**
 * Replaces the statement under the marker: the next line, the lines that are deeper than it, and the line that closes
 * it. How the formatter breaks it does not matter.
 */
export function replaceMarked(
  source: string,
  marker: string,
  replace: string | ((statement: string) => string) = '',
): string {
  const lines = source.split('\n');
  const from = lines.findIndex((line) => MARKER.exec(line)?.[1] === marker) + 1;
  if (from === 0) throw new Error(`no marker ${marker}`);
  const depth = indentOf(lines[from] ?? '');
  const belongs = (line: string | undefined): boolean =>
    line !== undefined &&
    (line === '' || indentOf(line) > depth || (indentOf(line) === depth && closes(line)));
  let to = from + 1;
  while (belongs(lines[to])) to += 1;
  const statement = lines.slice(from, to).join('\n');
  const text = typeof replace === 'string' ? replace : replace(statement);
  return [...lines.slice(0, from), text, ...lines.slice(to)].join('\n');
}

/** @returns the files that each marker of the product stands in, once for each time that it stands there */
export async function findMarkers(root: string): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const part of PRODUCT) {
    const names = await readdir(join(root, part), { recursive: true });
    for (const name of names.filter((each) => /\.(ts|lua)$/.test(each))) {
      const file = join(part, name);
      for (const line of (await readFile(join(root, file), 'utf8')).split('\n')) {
        const marker = MARKER.exec(line)?.[1];
        if (marker !== undefined) found.set(marker, [...(found.get(marker) ?? []), file]);
      }
    }
  }
  return found;
}
