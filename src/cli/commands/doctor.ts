/** What the checks found: a line each, with how to mend it below. */
import type { Grade, Result } from '../../doctor/check.ts';
import { ExitCode } from '../exit-code.ts';
import { type Colour, type Output, sanitize } from '../terminal.ts';

const MARKS: Readonly<Record<Grade, readonly [mark: string, colour: Colour]>> = {
  ok: ['✓', 'green'],
  warning: ['!', 'yellow'],
  failure: ['✗', 'red'],
  skipped: ['-', 'dim'],
};
const NAME_WIDTH = 12;

/** @returns 1 when a check failed */
export async function showFindings(
  results: AsyncIterable<Result>,
  out: Output,
  json: boolean,
): Promise<number> {
  const all: Result[] = [];
  for await (const result of results) {
    all.push(result);
    if (json) continue;
    const [mark, colour] = MARKS[result.grade];
    await out.line(
      `${out.colour(colour, mark)} ${result.name.padEnd(NAME_WIDTH)} ${sanitize(result.message)}`,
    );
    if (result.advice !== null)
      await out.line(`  ${' '.repeat(NAME_WIDTH)} ${out.colour('bold', '→')} ${sanitize(result.advice)}`);
  }
  const count = (grade: Grade): number => all.filter((result) => result.grade === grade).length;
  const healthy = count('failure') === 0;
  if (json) await out.json({ healthy, checks: all });
  else
    await out.line(
      `\n${count('ok')} fine, ${count('warning')} to look at, ${count('failure')} to fix, ${count('skipped')} not checked`,
    );
  return healthy ? ExitCode.fine : ExitCode.error;
}
