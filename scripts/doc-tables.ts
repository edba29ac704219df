/**
 * Writes the tables of docs/ that follow from the code: the settings, and the fields of a job. With `--check` it only
 * compares, and ends with status 1 when a page is not what the code says.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { variableOf } from '../src/config.ts';
import {
  belongsTo,
  FIELD_NAMES,
  type FieldName,
  fieldOf,
  JOB_TYPES,
} from '../src/jobs/description/fields.ts';
import { settingsSchema } from '../src/settings.ts';

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** The default that the schema itself holds; the others depend on the machine and stand in the text. */
function settingDefault(field: { safeParse(value: unknown): { success: boolean; data?: unknown } }): string {
  const parsed = field.safeParse(undefined);
  return parsed.success && parsed.data !== undefined
    ? `\`${JSON.stringify(parsed.data).replaceAll('"', '')}\``
    : '–';
}

const settingsTable = (): string =>
  table(
    ['variable', 'in the file', 'default', 'meaning'],
    Object.entries(settingsSchema.shape).map(([name, field]) => [
      `\`${variableOf(name)}\``,
      `\`${name}\``,
      settingDefault(field),
      field.description ?? '',
    ]),
  );

/** The same for all types, or one after the other. */
function ofEachType(values: readonly (string | number)[]): string {
  return new Set(values).size === 1 ? String(values[0]) : values.join(' / ');
}

function fieldDefault(name: FieldName): string {
  const { required, default: usual, range, setting } = fieldOf(name);
  if (required) return 'required';
  if (range) return ofEachType(JOB_TYPES.map((type) => range[type].default));
  if (setting) return 'a setting';
  return usual === null ? '–' : `\`${JSON.stringify(usual).replaceAll('"', '')}\``;
}

const fieldsTable = (): string =>
  table(
    ['field', `types`, `default`, `maximum`, 'meaning', '`flashpods run`'],
    FIELD_NAMES.map((name) => {
      const { range, meaning, option } = fieldOf(name);
      const types = JOB_TYPES.filter((type) => belongsTo(name, type));
      return [
        `\`${name}\``,
        types.length === JOB_TYPES.length ? 'all' : types.join(', '),
        fieldDefault(name),
        range ? ofEachType(JOB_TYPES.map((type) => range[type].max)) : '',
        meaning,
        option ? `\`${option.flags}\`` : '',
      ];
    }),
  );

const PAGES = [
  { page: 'configuration.md', name: 'settings', make: settingsTable },
  { page: 'jobs.md', name: 'fields', make: fieldsTable },
] as const;

for (const { page, name, make } of PAGES) {
  const file = new URL(`../docs/${page}`, import.meta.url);
  const [from, to] = [`<!-- ${name}: made by scripts/doc-tables.ts -->`, `<!-- /${name} -->`];
  const now = readFileSync(file, 'utf8');
  const [head = '', rest = ''] = now.split(from);
  const made = `${head}${from}\n\n${make()}\n\n${to}${rest.split(to)[1] ?? ''}`;
  if (!process.argv.includes('--check')) writeFileSync(file, made);
  else if (made !== now) {
    process.stderr.write(`docs/${page} is not what the code says: run node scripts/doc-tables.ts\n`);
    process.exitCode = 1;
  }
}
