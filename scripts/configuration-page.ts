/** Writes the table of settings in docs/configuration.md from the schema; with `--check` it only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { settingsSchema, variableOf } from '../src/config.ts';

const PAGE = new URL('../docs/configuration.md', import.meta.url);
const MARKS = ['<!-- settings: made by scripts/configuration-page.ts -->', '<!-- /settings -->'] as const;

/** The default that the schema itself holds; the others depend on the machine and stand in the text. */
function defaultOf(field: { safeParse(value: unknown): { success: boolean; data?: unknown } }): string {
  const parsed = field.safeParse(undefined);
  return parsed.success && parsed.data !== undefined
    ? `\`${JSON.stringify(parsed.data).replaceAll('"', '')}\``
    : '–';
}

export function settingsTable(): string {
  const rows = Object.entries(settingsSchema.shape).map(
    ([name, field]) =>
      `| \`${variableOf(name)}\` | \`${name}\` | ${defaultOf(field)} | ${field.description ?? ''} |`,
  );
  return ['| variable | in the file | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

if (import.meta.main) {
  const page = readFileSync(PAGE, 'utf8');
  const [head = '', rest = ''] = page.split(MARKS[0]);
  const tail = rest.split(MARKS[1])[1] ?? '';
  const made = `${head}${MARKS[0]}\n\n${settingsTable()}\n\n${MARKS[1]}${tail}`;
  if (process.argv.includes('--check') && made !== page) {
    process.stderr.write(
      'docs/configuration.md is not what the schema says: run node scripts/configuration-page.ts\n',
    );
    process.exitCode = 1;
  } else if (!process.argv.includes('--check')) {
    writeFileSync(PAGE, made);
  }
}
