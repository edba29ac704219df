/** Translates between a row of `jobs` and a {@link Job}. A column has the name of its field in snake case. */
import type { Knex } from 'knex';
import { FIELD_NAMES, belongsTo, fieldOf } from '../jobs/description/fields.ts';
import { camel, camelKeys, type Snake, snake, snakeKeys } from '../jobs/description/names.ts';
import type { Job, JobFacts } from '../jobs/job.ts';
import type { JobPatch, NewJob } from '../jobs/store.ts';
import type { Stored } from './row.ts';

/** 0 or 1; JSON; JSON whose names are in snake case, too. Everything else is stored as it is. */
type Form = 'plain' | 'flag' | 'json' | 'names';

type Formed = {
  [Fact in keyof JobFacts]: NonNullable<JobFacts[Fact]> extends boolean | object ? Fact : never;
}[keyof JobFacts];

const FACTS: Readonly<Record<Formed, Form>> = {
  usage: 'names',
  notes: 'json',
  warnings: 'json',
  artifactWarnings: 'json',
  errorLines: 'json',
  logTruncated: 'flag',
};

const FORMS: Readonly<Record<string, Form>> = {
  ...FACTS,
  ...Object.fromEntries(FIELD_NAMES.map((name) => [camel(name), fieldOf(name).stored ?? 'plain'])),
};

export type JobRow = { -readonly [Key in keyof Job as Snake<Key>]: Stored<Job[Key]> } & {
  /** `client_job_id` until the job is cleaned. */
  idempotency_key: string | null;
  /** Entries of the job in the journal. */
  events: number;
};

/**
 * All columns of `jobs` for lists and feeds: with an empty `env`, which nobody is shown there, and which may be larger
 * than all the rest of many rows.
 */
export async function columnsWithoutEnv(db: Knex): Promise<(string | Knex.Raw)[]> {
  // Transactions have the configuration of their database, too.
  const of = db.client as { readonly config: object };
  let columns = COLUMNS.get(of.config);
  if (columns === undefined) {
    const found = await db.raw<{ name: string }[]>('pragma table_info(jobs)');
    columns = found.map(({ name }) => name).filter((name) => name !== 'env');
    COLUMNS.set(of.config, columns);
  }
  return [...columns.map((name) => `jobs.${name}`), db.raw(`'{}' as env`)];
}

/** Of `jobs` but `env`, by database: they stay what they are once it is open. */
const COLUMNS = new WeakMap<object, readonly string[]>();

export function toJob(row: JobRow): Job {
  const job: Record<string, unknown> = {};
  const { idempotency_key: _key, events: _events, ...columns } = row;
  for (const [column, value] of Object.entries(columns)) {
    const { key, form } = keptAs(column);
    job[key] = decode(value, form);
  }
  for (const name of FIELD_NAMES) if (!belongsTo(name, row.type)) job[camel(name)] = null;
  // Rows from before the column have none.
  job['orderedAt'] ??= row.created_at;
  return job as unknown as Job;
}

/** Of a column; kept, since every row that is read asks for each. */
const FIELDS_OF_COLUMNS = new Map<string, { readonly key: string; readonly form: Form }>();

function keptAs(column: string): { readonly key: string; readonly form: Form } {
  let field = FIELDS_OF_COLUMNS.get(column);
  if (!field) {
    const key = camel(column);
    field = { key, form: FORMS[key] ?? 'plain' };
    FIELDS_OF_COLUMNS.set(column, field);
  }
  return field;
}

export function newRow(job: NewJob, createdAt: number): Partial<JobRow> {
  return {
    ...columnsOf(job),
    idempotency_key: job.clientJobId,
    status: 'pending',
    created_at: createdAt,
    ordered_at: createdAt,
    events: 1,
  };
}

export const patchColumns = (patch: JobPatch): Record<string, unknown> => columnsOf(patch);

const columnsOf = (values: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => [snake(key), encode(value, FORMS[key] ?? 'plain')]),
  );

function encode(value: unknown, form: Form): unknown {
  if (value === null || form === 'plain') return value;
  if (form === 'flag') return Number(value);
  return JSON.stringify(form === 'names' ? snakeKeys(value) : value);
}

function decode(value: unknown, form: Form): unknown {
  if (value === null || form === 'plain') return value;
  if (form === 'flag') return value !== 0;
  const read: unknown = JSON.parse(value as string);
  return form === 'names' ? camelKeys(read) : read;
}
