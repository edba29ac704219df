/**
 * `POST /jobs`: the schema that checks a request, its error codes, and the canonical form after defaults and
 * clamping. The OpenAPI document is made from the same schema.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type ErrorCode, FlashpodsError } from '../errors.ts';
import { isUploadId } from '../ids.ts';
import { sentenceOf, wrongFields } from '../wrong-fields.ts';
import { BRANCH_PATTERN, GIT_URL_PATTERN, isBranchName, isGitUrl } from './git.ts';
import type { JobSpec, JobType } from './job.ts';

// `meta` says in the OpenAPI document what a refinement checks, as far as JSON Schema can.
const utf8Bytes = (max: number) =>
  z
    .string()
    .refine((value) => Buffer.byteLength(value) <= max, `must be at most ${max} bytes of UTF-8`)
    .meta({ type: 'string', maxLength: max, description: `at most ${max} bytes of UTF-8` });
// execve takes no NUL, and a lone surrogate can't be written as UTF-8: both would arrive changed.
const plain = (max: number) =>
  utf8Bytes(max)
    .refine((value) => !value.includes('\0'), 'must not contain NUL bytes')
    .refine((value) => value.isWellFormed(), 'must be valid Unicode')
    .meta({ type: 'string', maxLength: max, description: `at most ${max} bytes of UTF-8, without NUL` });
const filled = (max: number) =>
  plain(max)
    .refine((value) => value.trim() !== '', 'must not be empty')
    .meta({ minLength: 1, pattern: String.raw`\S` });
const count = z.number().int('must be an integer').min(1, 'must be at least 1');

const IMAGE =
  /^(?:[a-zA-Z0-9.-]+(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const UUID_V4 = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$/;

/** One variable of a process may have 128 KiB (`MAX_ARG_STRLEN`); the block of all of them is kept well under 2 MB. */
const ENV_VALUE_BYTES = 100_000;
const ENV_TOTAL_BYTES = 500_000;
/** Each is the value of one variable as well. */
const AGENT_TEXT_BYTES = 100_000;

export const createJobSchema = z.strictObject({
  client_job_id: z.string().regex(UUID_V4, 'must be a UUID v4').optional(),
  type: z.enum(['worker', 'agent']),
  command: filled(10_000).optional(),
  task: filled(AGENT_TEXT_BYTES).optional(),
  context: plain(AGENT_TEXT_BYTES).optional(),
  git_branch: filled(255)
    .refine(isBranchName, 'must be a name that git takes for a branch')
    .meta({
      pattern: BRANCH_PATTERN,
      description: 'of an agent: a name that git takes for a branch',
    })
    .optional(),
  git_url: filled(2_048)
    .refine(
      isGitUrl,
      'must be https://…, http://…, git://…, ssh://… or user@host:path, without a user name or a password in an http address',
    )
    .meta({
      pattern: GIT_URL_PATTERN,
      description: 'of an agent: http, https, git, ssh, or user@host:path; no credentials',
    })
    .optional(),
  files_id: z
    .string()
    .refine(isUploadId, 'must be the id of an upload')
    .meta({ type: 'string', pattern: '^upload_[a-z0-9-]{12}$' })
    .optional(),
  image: z.string().max(255).regex(IMAGE, 'must be an image reference').optional(),
  cpus: count.optional(),
  memory_gb: count.optional(),
  timeout_minutes: count.optional(),
  env: z
    .record(z.string().regex(ENV_NAME, 'must be the name of a variable'), plain(ENV_VALUE_BYTES))
    .refine(
      (env) => Buffer.byteLength(JSON.stringify(env)) <= ENV_TOTAL_BYTES,
      `must be at most ${ENV_TOTAL_BYTES} bytes together`,
    )
    .refine(
      (env) => Object.keys(env).every((name) => !name.startsWith('FLASHPODS_')),
      'must not set FLASHPODS_ variables',
    )
    .meta({
      propertyNames: { pattern: ENV_NAME.source },
      description: `no name begins with \`FLASHPODS_\`; at most ${ENV_TOTAL_BYTES} bytes together`,
    })
    .optional(),
  network: z.enum(['internet', 'none']).optional(),
  priority: z.number().int('must be an integer').min(1).max(10).optional(),
  when_busy: z.enum(['queue', 'reject']).optional(),
  max_queue_seconds: z.number().int('must be an integer').min(1).max(31_536_000).optional(),
  labels: z
    .record(
      z
        .string()
        .regex(LABEL_KEY, 'must be letters, digits, dots, slashes, hyphens and underscores, at most 63'),
      plain(255),
    )
    .refine((labels) => Object.keys(labels).length <= 32, 'must be at most 32')
    .meta({ propertyNames: { pattern: LABEL_KEY.source }, maxProperties: 32 })
    .optional(),
});

export type CreateJobRequest = z.infer<typeof createJobSchema>;

/** Fields with an error code of their own; every other field is `invalid_request`. */
const FIELD_CODES: Readonly<Record<string, ErrorCode>> = {
  type: 'invalid_job_type',
  client_job_id: 'invalid_client_job_id',
  image: 'invalid_image',
  cpus: 'invalid_cpus',
  memory_gb: 'invalid_memory',
  timeout_minutes: 'invalid_timeout',
};
const MISSING_CODES: Readonly<Record<string, ErrorCode>> = {
  type: 'invalid_job_type',
  command: 'missing_command',
  task: 'missing_task',
  git_branch: 'missing_git_branch',
};

export interface TypeLimits {
  readonly cpus: { readonly default: number; readonly max: number };
  readonly memoryGb: { readonly default: number; readonly max: number };
  readonly timeoutMinutes: { readonly default: number; readonly max: number };
  readonly image: string;
}

export type JobLimits = Readonly<Record<JobType, TypeLimits>>;

export const jobLimits = (images: { workerImage: string; agentImage: string }): JobLimits => ({
  worker: {
    cpus: { default: 2, max: 8 },
    memoryGb: { default: 4, max: 16 },
    timeoutMinutes: { default: 30, max: 120 },
    image: images.workerImage,
  },
  agent: {
    cpus: { default: 2, max: 4 },
    memoryGb: { default: 4, max: 8 },
    timeoutMinutes: { default: 60, max: 120 },
    image: images.agentImage,
  },
});

/** @throws FlashpodsError with the code of the first wrong field, and all wrong fields in `details.fields` */
export function parseCreateJob(body: unknown): CreateJobRequest {
  const parsed = createJobSchema.safeParse(body);
  if (!parsed.success) {
    const fields = wrongFields(parsed.error.issues);
    const root = parsed.error.issues[0]?.path[0];
    const name = typeof root === 'string' ? root : '';
    const given =
      typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
    const code =
      given === undefined || given === '' ? (MISSING_CODES[name] ?? FIELD_CODES[name]) : FIELD_CODES[name];
    throw new FlashpodsError(code ?? 'invalid_request', sentenceOf(fields), {
      details: { field: fields[0]?.field, fields },
    });
  }
  const request = parsed.data;
  const required = request.type === 'worker' ? (['command'] as const) : (['task', 'git_branch'] as const);
  const forbidden =
    request.type === 'worker'
      ? (['task', 'context', 'git_branch', 'git_url'] as const)
      : (['command'] as const);
  for (const field of required) {
    if (request[field] === undefined) {
      throw new FlashpodsError(MISSING_CODES[field] ?? 'invalid_request', undefined, { details: { field } });
    }
  }
  for (const field of forbidden) {
    if (request[field] !== undefined) {
      throw new FlashpodsError(
        'invalid_request',
        `\`${field}\` does not belong to a job of type ${request.type}`,
        { details: { field } },
      );
    }
  }
  return request;
}

/** Defaults filled in, values above the maximum lowered to it. */
export function toJobSpec(request: CreateJobRequest, limits: JobLimits): JobSpec {
  const of = limits[request.type];
  const clamp = (value: number | undefined, range: { default: number; max: number }): number =>
    Math.min(value ?? range.default, range.max);
  return {
    type: request.type,
    command: request.command ?? null,
    task: request.task ?? null,
    context: request.context ?? null,
    gitBranch: request.git_branch ?? null,
    gitUrl: request.git_url ?? null,
    filesId: request.files_id ?? null,
    image: request.image ?? of.image,
    cpus: clamp(request.cpus, of.cpus),
    memoryGb: clamp(request.memory_gb, of.memoryGb),
    timeoutMinutes: clamp(request.timeout_minutes, of.timeoutMinutes),
    env: request.env ?? {},
    network: request.network ?? 'internet',
    priority: request.priority ?? 5,
    whenBusy: request.when_busy ?? 'queue',
    maxQueueSeconds: request.max_queue_seconds ?? null,
    labels: request.labels ?? {},
  };
}

const canonical = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, inner]) => [key, canonical(inner)]),
  );
};

/** SHA-256 of the spec as canonical JSON (keys sorted): equal for requests that ask for the same. */
export const hashSpec = (spec: JobSpec): string =>
  createHash('sha256')
    .update(JSON.stringify(canonical(spec)))
    .digest('hex');
