/**
 * Every setting of every process role: one schema, read from flags, then `FLASHPODS_*`, then the file that
 * `FLASHPODS_CONFIG` names, then defaults. A wrong value stops the start and is named. This is the only file
 * that reads the environment of a server; the client's part is `client/environment.ts`.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { defaultDataDirectory, defaultRunDirectory } from './data-directory.ts';

/** A wrong setting. Its message names the setting and says what to write; the process exits with 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const integer = (min: number, max = Number.MAX_SAFE_INTEGER) => z.coerce.number().int().min(min).max(max);
const path = z
  .string()
  .min(1)
  .refine((value) => !value.includes('\0'), 'holds a NUL byte');
const hostName = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/,
    'must be lower-case letters, digits, dots and hyphens, at most 63',
  );

export const settingsSchema = z.strictObject({
  dataDir: path.optional().describe('data directory'),
  dbPath: path.optional().describe('SQLite file'),
  uploadsPath: path.optional().describe('directory of uploads'),
  artifactsPath: path.optional().describe('directory of artifacts'),
  logsPath: path.optional().describe('directory of job logs'),
  runPath: path.optional().describe('directory of sockets and pid files'),
  listenAddr: z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'must be HOST:PORT')
    .default('127.0.0.1:8080')
    .describe('address of the API; port 0 takes a free one'),
  mcpHosts: z
    .string()
    .regex(/^[A-Za-z0-9.-]+( [A-Za-z0-9.-]+)*$/, 'must be host names with spaces between')
    .optional()
    .describe('names by which `/mcp` may be called, beside addresses and `localhost`'),
  redisUrl: z
    .string()
    .regex(/^(rediss?|unix):\/\/?.+/, 'must be redis://…, rediss://… or unix:///path')
    .optional()
    .describe('Redis; without one `up` starts its own'),
  podmanSocket: path
    .optional()
    .describe('socket of `podman system service`; without one `up` starts its own'),
  podmanRoot: path.optional().describe('storage root of the Podman that is started; default is Podman’s own'),
  cpus: integer(1, 4096).optional().describe('cpus of this host that jobs may reserve'),
  memoryGb: integer(1, 65536).optional().describe('memory of this host that jobs may reserve, GB'),
  hostName: hostName.optional().describe('name of this host'),
  apiToken: z
    .string()
    .min(16)
    .max(512)
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .optional()
    .describe('bearer token'),
  tokenFile: path.optional().describe('file that holds the bearer token'),
  workerImage: z
    .string()
    .min(1)
    .max(255)
    .default('ubuntu:22.04')
    .describe('image of a worker job that names none'),
  agentImage: z
    .string()
    .min(1)
    .max(255)
    .default('flashpods/agent:latest')
    .describe('image of an agent job that names none'),
  graceSeconds: integer(1, 3600).default(10).describe('time between SIGTERM and SIGKILL'),
  startTimeoutSeconds: integer(5, 86_400).default(600).describe('a start that takes longer fails'),
  leaseSeconds: integer(3, 3600)
    .default(30)
    .describe('a host without a heartbeat for so long gets nothing new'),
  heartbeatSeconds: integer(1, 1200).default(10).describe('time between heartbeats of a host'),
  hostLostSeconds: integer(3, 604_800)
    .default(300)
    .describe('a host without a heartbeat for so long has lost its jobs'),
  reconcileSeconds: integer(1, 3600).default(15).describe('time between two reconciliations'),
  logMaxMb: integer(1, 1_000_000).default(50).describe('log kept of one job, MB'),
  logsTotalMb: integer(1)
    .default(10_240)
    .describe('all logs together, MB; beyond it the jobs that ended first lose theirs'),
  logRetentionHours: integer(0, 876_000).default(24).describe('logs are deleted after so long'),
  artifactRetentionHours: integer(0, 876_000).default(1).describe('artifacts are deleted after so long'),
  artifactMaxFileMb: integer(1).default(1024).describe('largest artifact, MB'),
  artifactMaxTotalMb: integer(1).default(2048).describe('all artifacts of one job, MB'),
  artifactMaxFiles: integer(1).default(200).describe('artifacts of one job'),
  uploadMaxMb: integer(1).default(2048).describe('one upload, MB'),
  uploadsTotalMb: integer(1).default(10_240).describe('all uploads together, MB'),
  uploadOpenMinutes: integer(1).default(30).describe('an upload that is not finalized expires after so long'),
  rsyncAddr: z
    .string()
    .regex(/^(off|(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9.-]+):\d{1,5})$/, 'must be HOST:PORT, or off')
    .default('127.0.0.1:8730')
    .describe('address of the rsync daemon for uploads; port 0, or one that is taken, takes a free one'),
  rsyncHostsAllow: z
    .string()
    .regex(/^[0-9a-zA-Z.:/*, -]+$/, 'must be addresses and networks, with spaces between')
    .default('127.0.0.1 ::1')
    .describe('who may connect to the rsync daemon'),
  uploadUnusedMinutes: integer(1)
    .default(60)
    .describe('a finalized upload that nothing uses expires after so long'),
  jobDiskMb: integer(64).default(10_240).describe('disk that one job may fill (artifacts, /tmp, home), MB'),
  jobPidsLimit: integer(8).default(1024).describe('processes of one job'),
  idBase: integer(65_536, 4_000_000_000)
    .default(1_000_000)
    .describe(
      'first of the 65,536 host ids behind the ids inside a container, where it has a user namespace of its own',
    ),
  concurrency: integer(1, 1000)
    .optional()
    .describe('containers at once on this host; default is what capacity allows'),
  minFreeDiskMb: integer(0).default(512).describe('with less free, the API calls its disk down, MB'),
  priorityAgeingSeconds: integer(1, 604_800)
    .default(600)
    .describe('a job stands behind those of the next higher priority that come less than so much later'),
  passingSeconds: integer(0, 604_800)
    .default(3600)
    .describe('a job that has waited so long is no longer delayed by later jobs of its owner'),
  tenantRunningJobs: integer(0)
    .optional()
    .describe('jobs that one owner may have running; no limit unless set'),
  tenantCpus: integer(0).optional().describe('cpus that the jobs of one owner may hold; no limit unless set'),
  tenantMemoryGb: integer(0)
    .optional()
    .describe('memory that the jobs of one owner may hold, GB; no limit unless set'),
  tenantQueuedJobs: integer(0)
    .optional()
    .describe('jobs that one owner may have waiting; no limit unless set'),
  rateLimitPerSecond: integer(1).default(100).describe('requests a second for each token'),
  rateLimitBurst: integer(1).default(110).describe('depth of the token bucket'),
  logLevel: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('level of the service log'),
});

export type SettingName = keyof z.infer<typeof settingsSchema>;
type Settings = z.infer<typeof settingsSchema>;

/** Settings in force: every default filled in, every path absolute. */
export interface Config extends Omit<
  Settings,
  'dataDir' | 'dbPath' | 'uploadsPath' | 'artifactsPath' | 'logsPath' | 'runPath' | 'hostName' | 'tokenFile'
> {
  readonly dataDir: string;
  readonly dbPath: string;
  readonly uploadsPath: string;
  readonly artifactsPath: string;
  readonly logsPath: string;
  readonly runPath: string;
  readonly hostName: string;
  readonly tokenFile: string;
}

/** `dbPath` → `FLASHPODS_DB_PATH`. */
export const variableOf = (setting: string): string =>
  `FLASHPODS_${setting.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

export type Flags = Partial<Record<SettingName, string | number | boolean | undefined>>;

/** Where the value of a setting came from. */
export interface Origin {
  readonly kind: 'flag' | 'variable' | 'file' | 'default';
  /** The flag, the variable or the file; empty for a default. */
  readonly name: string;
}

/** @throws ConfigError that names every wrong setting and where it came from */
export const loadConfig = (flags: Flags = {}, env: NodeJS.ProcessEnv = process.env): Config =>
  explainConfig(flags, env).config;

/** As {@link loadConfig}, and says where each value came from; what has no entry is a default. */
export function explainConfig(
  flags: Flags = {},
  env: NodeJS.ProcessEnv = process.env,
): { readonly config: Config; readonly origins: ReadonlyMap<string, Origin> } {
  const raw: Record<string, unknown> = {};
  const origins = new Map<string, Origin>();
  const file = env['FLASHPODS_CONFIG'];
  for (const [name, value] of Object.entries(readFile(file))) {
    raw[name] = value;
    origins.set(name, { kind: 'file', name: file ?? '' });
  }
  for (const name of Object.keys(settingsSchema.shape)) {
    const variable = variableOf(name);
    // An empty variable is an unset one, as in most shells' idioms.
    if (env[variable] !== undefined && env[variable] !== '') {
      raw[name] = env[variable];
      origins.set(name, { kind: 'variable', name: variable });
    }
  }
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    raw[name] = value;
    origins.set(name, {
      kind: 'flag',
      name: `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    });
  }
  const parsed = settingsSchema.safeParse(raw);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => {
      if (issue.code === 'unrecognized_keys') return `unknown setting: ${issue.keys.join(', ')}`;
      const name = String(issue.path[0]);
      return `${describeOrigin(name, origins.get(name))}: ${issue.message}`;
    });
    throw new ConfigError(`wrong configuration\n  ${lines.join('\n  ')}`);
  }
  return { config: complete(parsed.data, env), origins };
}

function describeOrigin(setting: string, origin: Origin | undefined): string {
  if (origin === undefined) return variableOf(setting);
  return origin.kind === 'file' ? `\`${setting}\` in ${origin.name}` : origin.name;
}

function readFile(file: string | undefined): Record<string, unknown> {
  if (!file) return {};
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    throw new ConfigError(`FLASHPODS_CONFIG: ${file} can't be read as a JSON object`, { cause });
  }
}

function complete(settings: Settings, env: NodeJS.ProcessEnv): Config {
  const dataDir = resolve(settings.dataDir ?? defaultDataDirectory(env));
  const below = (given: string | undefined, name: string): string => resolve(given ?? join(dataDir, name));
  if (settings.heartbeatSeconds >= settings.leaseSeconds) {
    throw new ConfigError('FLASHPODS_HEARTBEAT_SECONDS must be less than FLASHPODS_LEASE_SECONDS');
  }
  return {
    ...settings,
    dataDir,
    dbPath: below(settings.dbPath, 'flashpods.db'),
    uploadsPath: below(settings.uploadsPath, 'uploads'),
    artifactsPath: below(settings.artifactsPath, 'artifacts'),
    logsPath: below(settings.logsPath, 'logs'),
    runPath: settings.runPath ? resolve(settings.runPath) : defaultRunDirectory(dataDir),
    hostName: settings.hostName ?? defaultHostName(),
    tokenFile: below(settings.tokenFile, 'token'),
  };
}

function defaultHostName(): string {
  const name = hostname()
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]/g, '-')
    .slice(0, 63)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '');
  return name === '' ? 'localhost' : name;
}
