/** Translates between a row of `jobs` and a {@link Job}. A column has the name of its field in snake case. */
import { FIELD_NAMES, belongsTo, fieldOf } from '../jobs/description/fields.ts';
import { camel, camelKeys, type Snake, snake, snakeKeys } from '../jobs/description/names.ts';
import type { Job, JobFacts } from '../jobs/job.ts';
import type { JobPatch, NewJob } from '../jobs/store.ts';

/** As it is; 0 or 1; JSON; JSON whose names are in snake case, too. */
type Form = 'plain' | 'flag' | 'json' | 'names';

const FACTS: { readonly [Fact in keyof JobFacts]: Form } = {
  id: 'plain',
  position: 'plain',
  orderedAt: 'plain',
  owner: 'plain',
  clientJobId: 'plain',
  requestHash: 'plain',
  status: 'plain',
  endingReason: 'plain',
  cancelRequestedAt: 'plain',
  error: 'plain',
  errorCode: 'plain',
  errorMessage: 'plain',
  host: 'plain',
  epoch: 'plain',
  imageDigest: 'plain',
  exitCode: 'plain',
  usage: 'names',
  warnings: 'json',
  artifactWarnings: 'json',
  logTruncated: 'flag',
  waitingReason: 'plain',
  createdAt: 'plain',
  queuedAt: 'plain',
  startingAt: 'plain',
  startedAt: 'plain',
  endedAt: 'plain',
  completedAt: 'plain',
  logsDeletedAt: 'plain',
  artifactsDeletedAt: 'plain',
};

const SPEC: Readonly<Record<string, Form>> = Object.fromEntries(
  FIELD_NAMES.map((name) => [camel(name), fieldOf(name).stored ?? 'plain']),
);

const FORMS: Readonly<Record<string, Form>> = { ...FACTS, ...SPEC };
const COLUMNS = Object.entries(FORMS).map(([key, form]) => ({ key, form, column: snake(key) }));

type Stored<Value> = Value extends boolean ? number : Value extends object ? string : Value;

export type JobRow = { -readonly [Key in keyof Job as Snake<Key>]: Stored<Job[Key]> } & {
  /** `client_job_id` until the job is cleaned. */
  idempotency_key: string | null;
  /** Entries of the job in the journal. */
  events: number;
};

export function toJob(row: JobRow): Job {
  const job: Record<string, unknown> = {};
  const columns = row as unknown as Readonly<Record<string, unknown>>;
  for (const { key, form, column } of COLUMNS) job[key] = decode(columns[column], form);
  for (const name of FIELD_NAMES) if (!belongsTo(name, row.type)) job[camel(name)] = null;
  // Rows from before the column have none.
  job['orderedAt'] ??= row.created_at;
  return job as unknown as Job;
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
