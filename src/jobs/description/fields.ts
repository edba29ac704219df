/**
 * The fields of a request for a job: one entry each, and nothing else in the code lists them. From the table follow
 * what `POST /jobs` takes and answers, what is stored and hashed, the OpenAPI document, the client's types, the options
 * of `flashpods run`, the arguments of the MCP tools and the table in docs/jobs.md. A new field is an entry here and a
 * migration for its column, which has the field's name.
 *
 * Nothing here loads zod: the command line reads the table each time it starts.
 */
import type { z } from 'zod';
import type { ErrorCode } from '../../errors.ts';
import { cachesInForce } from '../../caches/known.ts';
import { inOrder } from '../../packages/names.ts';
import type { Schemas } from './schemas.ts';

export const JOB_TYPES = ['worker', 'agent'] as const;
export type JobType = (typeof JOB_TYPES)[number];

const NETWORKS = ['internet', 'none'] as const;
const WHEN_BUSY = ['queue', 'reject'] as const;
export const SHELLS = ['auto', 'bash', 'sh'] as const;
/** Each is the value of one variable as well, which may have 128 KiB. */
const AGENT_TEXT_BYTES = 100_000;

/** Of a number: what is in force where none is given, and what more is lowered to. Settings may change both. */
export interface Range {
  readonly default: number;
  readonly max: number;
}

/** How `flashpods run` takes a field. */
export interface FieldOption {
  readonly flags: string;
  readonly value:
    | 'text'
    | 'whole'
    | 'gigabytes'
    | 'hours'
    | 'minutes'
    | 'seconds'
    | 'pairs'
    | 'names'
    | 'several'
    | 'caches'
    | 'flag'
    | 'no';
  readonly choices?: readonly string[];
}

export interface Field {
  /** Of a value that is given. */
  readonly schema: (s: Schemas) => z.ZodType;
  /** What it is for, in the words of all who are offered it. */
  readonly meaning: string;
  /** The types of job that have it; left out: all. */
  readonly of?: readonly JobType[];
  readonly required?: true;
  /** In force where none is given; null: nothing is. */
  readonly default?: null | string | number | boolean | readonly never[] | Readonly<Record<string, never>>;
  /** The one form of values that mean the same; left out: as it is given. */
  readonly inForce?: (value: never) => unknown;
  /** The default, and the maximum of a number, are settings of each type; these are what they are unless set. */
  readonly range?: Readonly<Record<JobType, Range>>;
  readonly setting?: 'image';
  /** How the column holds it; left out: as it is. */
  readonly stored?: 'json' | 'flag';
  /** What the job's owner (and an admin) is shown: in every answer unless said otherwise. */
  readonly answer?: 'alone' | 'never';
  /** The request's hash leaves it out while it has its default: rows that are older than the field keep their hash. */
  readonly hashed?: 'unless default';
  /** Codes of the error for a wrong value, and for none; left out: `invalid_request`. */
  readonly wrong?: ErrorCode;
  readonly missing?: ErrorCode;
  readonly option?: FieldOption;
  /** What `flashpods run` and the MCP tools ask for where they are told nothing, if that is not the default. */
  readonly asked?: boolean;
  /** It is an argument of the MCP tools; a text is what a model should know beside the meaning. */
  readonly argument?: true | string;
}

export const FIELDS = {
  type: {
    schema: (s) => s.oneOf(JOB_TYPES),
    meaning: 'what runs: a shell command, or an autonomous agent on a git branch',
    required: true,
    wrong: 'invalid_job_type',
    missing: 'invalid_job_type',
  },
  client_job_id: {
    schema: (s) => s.uuid(),
    meaning: 'a UUID v4 of your own: a repeated request with it never creates a second job',
    default: null,
    wrong: 'invalid_client_job_id',
    argument: true,
  },
  command: {
    schema: (s) => s.filled(10_000, 'put it into a file that you send and run that, such as `sh build.sh`'),
    meaning:
      'shell command, run in the directory /work by bash with pipefail (by sh where the image has no bash); a first line `#!…` names another interpreter',
    of: ['worker'],
    required: true,
    missing: 'missing_command',
    argument:
      'build in /work itself. Put results to keep under /artifacts. At most 10,000 bytes of UTF-8: put a longer script into a file of `files`',
  },
  shell: {
    schema: (s) => s.oneOf(SHELLS),
    meaning:
      'what runs the command: bash with pipefail, or sh where the image has no bash (`auto`); `bash`; `sh` for plain /bin/sh -c',
    of: ['worker'],
    default: 'auto',
    hashed: 'unless default',
    option: { flags: '--shell <shell>', value: 'text', choices: SHELLS },
    argument: true,
  },
  task: {
    schema: (s) => s.filled(AGENT_TEXT_BYTES),
    meaning: 'what the agent has to do, complete: it knows nothing else',
    of: ['agent'],
    required: true,
    missing: 'missing_task',
    argument: true,
  },
  git_branch: {
    schema: (s) => s.branch(),
    meaning: 'branch that the agent works on',
    of: ['agent'],
    required: true,
    missing: 'missing_git_branch',
    argument: true,
  },
  git_url: {
    schema: (s) => s.repository(),
    meaning: 'repository that the agent clones',
    of: ['agent'],
    default: null,
    argument: true,
  },
  context: {
    schema: (s) => s.plain(AGENT_TEXT_BYTES),
    meaning: 'background for the agent: findings, conventions, links',
    of: ['agent'],
    default: null,
    answer: 'alone',
    argument: true,
  },
  files_id: {
    schema: (s) => s.upload(),
    meaning: 'a finalized upload, whose files are in /work',
    default: null,
  },
  writable: {
    schema: (s) => s.flag(),
    meaning: 'let the command write in /work; the upload itself does not change',
    of: ['worker'],
    default: false,
    stored: 'flag',
    hashed: 'unless default',
    option: { flags: '--read-only-work', value: 'no' },
    asked: true,
    argument: true,
  },
  merge: {
    schema: (s) => s.flag(),
    meaning: 'merge stdout and stderr, so that the log has their lines in the exact order',
    of: ['worker'],
    default: false,
    stored: 'flag',
    hashed: 'unless default',
    option: { flags: '--merge', value: 'flag' },
    asked: true,
    argument: true,
  },
  root: {
    schema: (s) => s.flag(),
    meaning: 'run as root inside the container, so that apt-get install and su work',
    default: false,
    stored: 'flag',
    hashed: 'unless default',
    option: { flags: '--root', value: 'flag' },
    argument: true,
  },
  image: {
    schema: (s) => s.image(),
    meaning: 'image to run in, such as node or debian:12 (agent jobs: its entrypoint is the agent)',
    setting: 'image',
    wrong: 'invalid_image',
    option: { flags: '--image <image>', value: 'text' },
    argument: 'list_images says which are here and what is in them',
  },
  packages: {
    schema: (s) => s.packages(),
    meaning: 'Debian packages to install before the command, such as libreadline-dev; kept for the next job',
    default: [],
    inForce: inOrder,
    stored: 'json',
    hashed: 'unless default',
    wrong: 'invalid_packages',
    option: { flags: '--packages <names>', value: 'names' },
    argument:
      'for headers, libraries and programs that the image has not; the image has to be a Debian or an Ubuntu',
  },
  artifacts: {
    schema: (s) => s.patterns(),
    meaning:
      'files, directories or globs of /work to keep as artifacts, in addition to /artifacts, even if the command fails: build/app, **/*.xml',
    default: [],
    stored: 'json',
    hashed: 'unless default',
    option: { flags: '--artifact <pattern>', value: 'several' },
    argument: true,
  },
  caches: {
    schema: (s) => s.caches(),
    meaning:
      'directories that jobs of one owner find again, such as those of npm, cargo, go, pip, maven, gradle, ccache and apt (by name alone), or others with their `path`; a job reads them, and one with `mode` `write` that completes replaces them',
    default: [],
    inForce: cachesInForce,
    stored: 'json',
    hashed: 'unless default',
    option: { flags: '--cache <cache>', value: 'caches' },
    argument: true,
  },
  cache_scope: {
    schema: (s) => s.cacheScope(),
    meaning:
      'branch or label whose caches the job writes, and reads first; where there is none it reads those of `default`, which is the scope unless set (of an agent: its branch)',
    default: null,
    hashed: 'unless default',
    option: { flags: '--cache-scope <scope>', value: 'text' },
    argument: true,
  },
  cpus: {
    schema: (s) => s.whole(),
    meaning: 'cpus to reserve',
    range: { worker: { default: 2, max: 8 }, agent: { default: 2, max: 4 } },
    wrong: 'invalid_cpus',
    option: { flags: '--cpus <number>', value: 'whole' },
    argument: true,
  },
  memory_gb: {
    schema: (s) => s.whole(),
    meaning: 'memory to reserve, GB; a job that uses more is killed (oom_killed)',
    range: { worker: { default: 4, max: 16 }, agent: { default: 4, max: 8 } },
    wrong: 'invalid_memory',
    option: { flags: '--memory <gigabytes>', value: 'gigabytes' },
    argument: true,
  },
  disk_gb: {
    schema: (s) => s.whole(1_000_000),
    meaning:
      'disk to reserve for everything the job writes, packages included, GB (default: the host’s disk in proportion to the cpus, 1 to 10 GB)',
    default: null,
    hashed: 'unless default',
    option: { flags: '--disk <gigabytes>', value: 'gigabytes' },
    argument: true,
  },
  timeout_minutes: {
    schema: (s) => s.whole(),
    meaning: 'time limit of the run',
    range: { worker: { default: 30, max: 120 }, agent: { default: 60, max: 120 } },
    wrong: 'invalid_timeout',
    option: { flags: '--timeout <time>', value: 'minutes' },
    argument: true,
  },
  env: {
    schema: (s) => s.environment(),
    meaning: 'environment variable; not for secrets: it is stored',
    default: {},
    stored: 'json',
    answer: 'never',
    option: { flags: '-e, --env <key=value>', value: 'pairs' },
    argument: true,
  },
  network: {
    schema: (s) => s.oneOf(NETWORKS),
    meaning: 'network access of the job',
    default: 'internet',
    option: { flags: '--network <kind>', value: 'text', choices: NETWORKS },
    argument: true,
  },
  priority: {
    schema: (s) => s.whole(10),
    meaning: 'order among the jobs of the same owner, 1 (first) to 10 (last)',
    default: 5,
    option: { flags: '--priority <number>', value: 'whole' },
  },
  when_busy: {
    schema: (s) => s.oneOf(WHEN_BUSY),
    meaning: 'what to do when there is no room: queue, or reject',
    default: 'queue',
    option: { flags: '--when-busy <what>', value: 'text', choices: WHEN_BUSY },
  },
  max_queue_seconds: {
    schema: (s) => s.whole(31_536_000),
    meaning: 'time limit of the wait for a start; then the job fails',
    default: null,
    option: { flags: '--max-queue <time>', value: 'seconds' },
  },
  keep_hours: {
    schema: (s) => s.whole(8_760),
    meaning: 'hours to keep artifacts and log',
    default: null,
    hashed: 'unless default',
    option: { flags: '--keep <time>', value: 'hours' },
    argument: true,
  },
  labels: {
    schema: (s) => s.labels(),
    meaning: 'labels to find the job by',
    default: {},
    stored: 'json',
    option: { flags: '-l, --label <key=value>', value: 'pairs' },
    argument: true,
  },
} as const satisfies Readonly<Record<string, Field>>;

export type FieldName = keyof typeof FIELDS;

/** In the order of the table. */
export const FIELD_NAMES = Object.keys(FIELDS) as readonly FieldName[];

export const fieldOf = (name: FieldName): Field => FIELDS[name];

export const belongsTo = (name: FieldName, type: JobType): boolean =>
  fieldOf(name).of?.includes(type) ?? true;
