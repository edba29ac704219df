import { z } from 'zod';
import { answerShape, specShape } from '../../../src/jobs/description/answer.ts';
import { JOB_TYPES } from '../../../src/jobs/description/fields.ts';
import {
  ACTIVE_STATES,
  ENDING_REASONS,
  HOSTED_STATES,
  JOB_STATES,
  type JobState,
  WAITING_STATES,
} from '../../../src/jobs/states.ts';
import type { JobFilter } from '../../../src/jobs/queries.ts';
import { patternProblem } from '../../../src/logs/log-store.ts';
import { Globs, globsProblem } from '../../../src/artifacts/globs.ts';
import { timeSchema } from '../time.ts';

export const jobIdParams = z.strictObject({ id: z.string().describe('`job_…`') });
export const artifactParams = z.strictObject({
  id: z.string().describe('`job_…`'),
  name: z.string().describe('path relative to `/artifacts`, as `a/b` or `a%2Fb`'),
});

const digits = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)
    .meta({ type: 'integer', minimum: min, maximum: max });

const label = z
  .string()
  .regex(/^[^:]+:/, 'must be KEY:VALUE')
  .transform((value): [string, string] => {
    const colon = value.indexOf(':');
    return [value.slice(0, colon), value.slice(colon + 1)];
  })
  .meta({ type: 'string', pattern: '^[^:]+:', description: '`key:value`' });

const cursor = z
  .string()
  .max(32)
  .regex(/^[A-Za-z0-9_-]+$/, 'must be a `next_cursor` of an earlier answer')
  .transform((value) => Number(/^p(\d{1,15})$/.exec(Buffer.from(value, 'base64url').toString())?.[1]))
  .refine((position) => Number.isSafeInteger(position), 'must be a `next_cursor` of an earlier answer')
  .meta({
    type: 'string',
    pattern: '^[A-Za-z0-9_-]+$',
    maxLength: 32,
    description: '`next_cursor` of an earlier answer',
  });

export const artifactHeaders = z.object({
  Range: z.string().optional().describe('`bytes=…`, one range'),
  'If-Range': z.string().optional().describe('the ETag that the range is of'),
  'If-None-Match': z.string().optional().describe('ETags that the caller has'),
});
export const archiveHeaders = artifactHeaders.pick({ 'If-None-Match': true });

/** The reverse of what the `cursor` of a query takes. */
export const cursorAfter = (position: number): string => Buffer.from(`p${position}`).toString('base64url');

const GROUPS = ['active', 'waiting', 'hosted'] as const;

function statesOf(status: (typeof GROUPS)[number] | JobState): readonly JobState[] {
  switch (status) {
    case 'active':
      return ACTIVE_STATES;
    case 'waiting':
      return WAITING_STATES;
    case 'hosted':
      return HOSTED_STATES;
    default:
      return [status];
  }
}

export const listJobsQuery = z.strictObject({
  status: z
    .enum(['all', ...GROUPS, ...JOB_STATES])
    .default('all')
    .describe(
      'a state, `all`, `waiting` (pending or queued), `hosted` (starting or running), or `active`: one of those two',
    ),
  type: z.enum(JOB_TYPES).optional(),
  label: label.optional(),
  find: z.string().min(1).max(200).optional().describe('a name (label `name`), or the beginning of an id'),
  order: z
    .enum(['newest', 'turn'])
    .default('newest')
    .describe(
      '`turn`: those on a host first, the oldest in front, then those that wait in the order of their turns; one page, of active jobs',
    ),
  limit: digits(1, 100).default(20),
  cursor: cursor.optional(),
});

/** What the query asks of the jobs of that owner; null: of all. */
export const listFilter = (query: z.output<typeof listJobsQuery>, owner: string | null): JobFilter => ({
  owner,
  states: query.status === 'all' ? null : statesOf(query.status),
  type: query.type ?? null,
  label: query.label ?? null,
  find: query.find ?? null,
  order: query.order,
  limit: query.limit,
  beforePosition: query.cursor ?? null,
});

export const cancelJobsQuery = z.strictObject({ label });

export const getJobQuery = z.strictObject({
  wait: digits(1, 60).optional().describe('seconds to wait for another state'),
});

const STARTS = ['tail', 'offset', 'from_line'] as const;

export const outputQuery = z
  .strictObject({
    tail: digits(1, 10_000).optional().describe('last lines; 100 unless something else is asked for'),
    offset: digits(0, Number.MAX_SAFE_INTEGER).optional().describe('first byte; go on at `next_offset`'),
    from_line: digits(1, Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('number of the first line: `seq` of records, the number in `error_lines`, or `next_line`'),
    head: digits(1, 10_000).optional().describe('lines at most, from there on or from the beginning'),
    grep: z
      .string()
      .min(1)
      .max(1_000)
      .superRefine((pattern, ctx) => {
        const message = patternProblem(pattern);
        if (message !== null) ctx.addIssue({ code: 'custom', message });
      })
      .optional()
      .describe(
        'only lines that this regular expression of JavaScript finds, from `from_line` on; go on at `next_line`',
      ),
    ignore_case: z
      .enum(['true', 'false'])
      .optional()
      .describe('of `grep`: upper and lower case are the same'),
    context: digits(0, 100).optional().describe('of `grep`: lines before and after each; 0 unless given'),
    format: z.enum(['json', 'ndjson', 'raw']).default('json'),
    stream: z
      .enum(['stdout', 'stderr', 'all'])
      .optional()
      .describe('of `raw`: which stream; `stdout` unless given, and of a job with `merge` its only one'),
  })
  .superRefine((query, ctx) => {
    const refuse = (path: string, message: string): void =>
      ctx.addIssue({ code: 'custom', path: [path], message });
    const [first, second] = STARTS.filter((name) => query[name] !== undefined);
    if (first && second) refuse(second, `does not go together with \`${first}\``);
    if (query.head !== undefined && query.tail !== undefined)
      refuse('head', 'does not go together with `tail`');
    if (query.stream !== undefined && query.format !== 'raw')
      refuse('stream', 'goes together with `format=raw` only');
    if (query.format === 'raw' && query.head !== undefined)
      refuse('head', 'does not go together with `format=raw`');
    const { grep } = query;
    if (grep === undefined)
      for (const name of ['ignore_case', 'context'] as const)
        if (query[name] !== undefined) refuse(name, 'goes together with `grep` only');
    if (grep === undefined) return;
    if (query.format === 'raw') refuse('grep', 'does not go together with `format=raw`');
    for (const name of ['tail', 'offset', 'head'] as const)
      if (query[name] !== undefined) refuse(name, 'does not go together with `grep`: it takes `from_line`');
  });

const usageSchema = z.object({
  peak_memory_bytes: z.number().nullable(),
  cpu_seconds: z.number().nullable(),
  bytes_written: z.number().nullable(),
  max_processes: z.number().nullable(),
  unknown: z.record(z.string(), z.string()).optional().describe('why a value is null'),
});

export const jobSchema = z.object({
  id: z.string(),
  owner: z.string().describe('whose job it is'),
  ...answerShape,
  status: z.enum(JOB_STATES),
  image_digest: z.string().nullable(),
  ran_by: z
    .string()
    .nullable()
    .describe(
      'what runs the command: `bash -o pipefail`, `sh`, or the first line of a script; null before it starts',
    ),
  queue_position: z
    .int()
    .nullable()
    .describe('1 is next; null when it does not wait, or nobody can tell now'),
  waiting_reason: z
    .string()
    .nullable()
    .describe('while it waits: what is missing where, and how many jobs are ahead'),
  latest_start: timeSchema
    .nullable()
    .describe(
      'when it starts at the latest, by the timeouts of what runs and waits; null when nobody can know',
    ),
  estimated_start: timeSchema
    .nullable()
    .describe('the older name of `latest_start`: an upper bound, not an estimate'),
  host: z.string().nullable(),
  epoch: z.int().describe('how often the job was handed to a host'),
  container: z
    .string()
    .nullable()
    .describe('its name on its host, for `podman inspect`; null before it has a host'),
  cancel_requested: z.boolean(),
  ending_reason: z.enum(ENDING_REASONS).nullable(),
  exit_code: z.int().nullable(),
  error: z.string().nullable().describe('a code or a sentence'),
  error_code: z.string().nullable().describe('why it ended, always a code of the catalogue'),
  error_message: z.string().nullable(),
  usage: usageSchema.nullable().describe('what it used; null until it has ended'),
  created_at: timeSchema,
  queued_at: timeSchema.nullable(),
  starting_at: timeSchema.nullable(),
  started_at: timeSchema.nullable(),
  ended_at: timeSchema.nullable(),
  completed_at: timeSchema.nullable(),
  queue_seconds: z.number().describe('time spent waiting'),
  elapsed_seconds: z.number().nullable().optional().describe('while active; null before it runs'),
  duration_seconds: z.number().nullable().optional().describe('once ended; null if it never ran'),
  actual_runtime_seconds: z.number().nullable().optional().describe('of a job that timed out'),
  log_truncated: z.boolean(),
  notes: z
    .array(z.string())
    .describe('what is not as it was asked for: numbers that were lowered, an upload without files'),
  warnings: z.array(z.string()),
  artifact_warnings: z.array(z.string()),
  error_lines: z
    .array(z.string())
    .optional()
    .describe(
      'lines of the log that look like an error, `LINE: text`; a guess, also where the exit code is 0; left out in lists',
    ),
});

export const createdJobSchema = z.object({
  job_id: z.string(),
  status: z.enum(JOB_STATES),
  created: z.boolean(),
  message: z.string().optional().describe('that this is an earlier job with the same `client_job_id`'),
  cpus: z.int(),
  memory_gb: z.int(),
  timeout_minutes: z.int(),
  queue_position: z.int().nullable(),
  waiting_reason: z.string().nullable(),
  latest_start: timeSchema.nullable(),
  estimated_start: timeSchema.nullable().describe('the older name of `latest_start`'),
  notes: z
    .array(z.string())
    .optional()
    .describe('what is not as it was asked for: numbers that were lowered, an upload without files'),
});

export const checkedJobSchema = z.object({
  ...specShape,
  notes: z.array(z.string()).optional().describe('what would not be as it was asked for'),
});

export const jobListSchema = z.object({
  jobs: z.array(jobSchema),
  total: z.int(),
  next_cursor: z.string().nullable(),
});

export const cancelledJobSchema = z.object({
  job_id: z.string(),
  status: z.literal('cancelled'),
  message: z.string(),
});

export const cancelledJobsSchema = z.object({ cancelled: z.array(z.string()) });

export const outputSchema = z.object({
  output: z.string(),
  lines: z.int(),
  truncated: z.boolean().describe('the log reached its limit, or the lines asked for exceed one answer'),
  total_bytes: z.int().describe('size of the log, with what was left out of it'),
  printed_bytes: z.int().describe('what the job itself printed, without times and lines of ours'),
  next_offset: z.int(),
  matches: z.int().optional().describe('of `grep`: lines that it found'),
  next_line: z
    .int()
    .nullable()
    .optional()
    .describe('of `grep`: go on at `from_line`; null: it was searched to its end'),
});

const globs = (what: string) =>
  z
    .union([z.string(), z.array(z.string())])
    .transform((value) => (typeof value === 'string' ? [value] : value))
    .refine((patterns) => patterns.length <= 50, 'must be at most 50 patterns')
    .superRefine((patterns, ctx) => {
      const problem = globsProblem(patterns);
      if (problem !== null) ctx.addIssue({ code: 'custom', message: problem });
    })
    .transform((patterns) => new Globs(patterns))
    .meta({ type: 'string', minLength: 1, maxLength: 1_000, description: what });

const MATCH = 'only artifacts that match: a name, a directory, or a glob such as `build/**`; may be repeated';

export const listArtifactsQuery = z.strictObject({
  match: globs(MATCH).optional(),
  limit: digits(1, 10_000).default(10_000).describe('artifacts in one answer'),
  cursor: cursor.optional(),
});
export const archiveQuery = listArtifactsQuery.pick({ match: true });

const modeSchema = z
  .string()
  .regex(/^0[0-7]{3}$/)
  .nullable()
  .describe('permissions in octal, such as `0755`; null: nobody looked');
const mtimeSchema = z
  .string()
  .nullable()
  .describe('when it was last changed, ISO 8601 in UTC to the nanosecond; null: nobody looked');

export const artifactSchema = z.object({
  name: z.string(),
  type: z.enum(['file', 'symlink', 'directory']).describe('`directory`: one with nothing in it'),
  size_bytes: z.int().describe('of a symlink: of the file that it leads to'),
  sha256: z
    .string()
    .nullable()
    .describe('of a symlink: of the file that it leads to; null where there are no bytes'),
  mode: modeSchema,
  mtime: mtimeSchema,
  link_target: z.string().optional().describe('of a symlink: relative, and never out of the artifacts'),
  leads_to: z.string().optional().describe('of a symlink: the artifact with its bytes, if there is one'),
  created_at: timeSchema,
});

export const artifactListSchema = z.object({
  artifacts: z.array(artifactSchema),
  directories: z
    .array(z.object({ name: z.string(), mode: modeSchema, mtime: mtimeSchema }))
    .describe('those that hold artifacts of this answer'),
  total: z.int().describe('artifacts, of all answers'),
  total_size_bytes: z.int().describe('of all of them; symlinks are not counted'),
  next_cursor: z.string().nullable().describe('for the next answer; null: this is the last'),
  complete: z.boolean().describe('whether the job left nothing that is not here; `warnings` says what'),
  warnings: z.array(z.string()).describe('what was left out, and why'),
  expires_at: timeSchema.nullable(),
  copy_in_progress: z.boolean(),
});
