/**
 * Every setting of a server: what it may be, its default, and what it is for. A name here is `FLASHPODS_…` in the
 * environment. `config.ts` reads the values.
 */
import { z } from 'zod';
import { isWebAddress } from './mirrors/addresses.ts';
import { isCargoRegistry, isGoproxy } from './mirrors/registries.ts';
import { LIMIT_SETTINGS, type LimitSetting } from './jobs/description/limits.ts';

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

/** The message never has the value, which may hold a password. */
const webAddress = z
  .string()
  .refine(isWebAddress, 'must be http://… or https://…, with signs like quotes written as %22')
  .optional();

/** Each is optional: what holds where it is not set stands in the table of a job's fields. */
const limitSettings = Object.fromEntries(
  LIMIT_SETTINGS.map(({ name, meaning }) => [name, integer(1, 1_000_000).optional().describe(meaning)]),
) as Record<LimitSetting, z.ZodOptional<ReturnType<typeof integer>>>;

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
  reserveCpus: integer(0, 4096)
    .default(0)
    .describe('cpus of this host that jobs may not reserve, where `cpus` is not set'),
  reserveMemoryMb: integer(0, 67_108_864)
    .optional()
    .describe(
      'memory of this host that jobs may not reserve, where `memoryGb` is not set, MB; unless set, 1024 or a tenth, whichever is more',
    ),
  hostName: hostName.optional().describe('name of this host'),
  apiToken: z
    .string()
    .min(16)
    .max(512)
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .optional()
    .describe('bearer token'),
  apiAsRoot: z
    .enum(['true', 'false'])
    .default('false')
    .describe(
      'whether the API of an `up` that is root runs as root, too ([security.md](security.md#the-api-is-not-root))',
    ),
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
    .optional()
    .describe('image of an agent job that names none; unless set, each has to name one'),
  ...limitSettings,
  graceSeconds: integer(1, 3600).default(10).describe('time between SIGTERM and SIGKILL'),
  startTimeoutSeconds: integer(5, 86_400).default(600).describe('a start that takes longer fails'),
  leaseSeconds: integer(3, 3600)
    .default(30)
    .describe('a host without a heartbeat for this long gets nothing new'),
  heartbeatSeconds: integer(1, 1200).default(10).describe('time between heartbeats of a host'),
  hostLostSeconds: integer(3, 604_800)
    .default(300)
    .describe('a host without a heartbeat for this long has lost its jobs'),
  reconcileSeconds: integer(1, 3600).default(15).describe('time between two reconciliations'),
  logMaxMb: integer(1, 1_000_000)
    .default(50)
    .describe('log kept of one job, MB of what it printed: of more, the first and the last part'),
  spoolMaxMb: integer(64, 1_000_000)
    .default(1024)
    .describe('disk that the output of one job may take on its host before it is read, MB'),
  logsTotalMb: integer(1)
    .default(10_240)
    .describe('all logs together, MB; beyond it the logs of the jobs that ended first are deleted'),
  logRetentionHours: integer(0, 876_000).default(24).describe('how long to keep logs'),
  artifactRetentionHours: integer(0, 876_000).default(1).describe('how long to keep artifacts'),
  eventsRetentionHours: integer(1, 876_000)
    .default(720)
    .describe('events of a job are deleted this long after its logs and artifacts'),
  artifactMaxFileMb: integer(1).default(1024).describe('largest artifact, MB'),
  artifactMaxTotalMb: integer(1).default(2048).describe('all artifacts of one job, MB'),
  artifactMaxFiles: integer(1)
    .default(10_000)
    .describe('artifacts of one job: files, symlinks and empty directories'),
  uploadMaxMb: integer(1).default(2048).describe('one upload, MB'),
  uploadsTotalMb: integer(1).default(10_240).describe('all uploads together, MB'),
  uploadsOwnerMb: integer(1)
    .optional()
    .describe(
      'all uploads of one owner, MB; without it half of all, or one of the largest size if that is more',
    ),
  uploadOpenMinutes: integer(1)
    .default(30)
    .describe('an upload that is not finalized expires this long after its last byte'),
  uploadOpenAtMostMinutes: integer(1)
    .default(360)
    .describe('an upload that is not finalized expires after this time, also while bytes come'),
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
    .describe('a finalized upload that nothing uses expires after this time'),
  jobDiskMb: integer(64).default(10_240).describe('most disk of a job that does not ask for `disk_gb`, MB'),
  packageImagesMb: integer(64)
    .default(5_120)
    .describe(
      'packages installed for the jobs of one owner and kept on this host, MB; beyond it the least recently used are deleted',
    ),
  cachesMb: integer(64)
    .default(10_240)
    .describe(
      'what the caches of one owner may take of this host, MB; beyond it those go that were not used for longest',
    ),
  allowRoot: z
    .enum(['true', 'false'])
    .default('true')
    .describe('whether a job may ask for `root`, inside of its container'),
  allowUnlimited: z
    .enum(['true', 'false', '1', '0'])
    .default('false')
    .describe(
      'whether a worker starts where limits on cpus, memory and processes do not hold: there any job can take all of the host',
    ),
  caFile: path
    .optional()
    .describe('PEM file of CA certificates that jobs trust beside their image’s ([mirrors.md](mirrors.md))'),
  npmRegistry: webAddress.describe('registry of npm, yarn and pnpm in jobs'),
  pipIndexUrl: webAddress.describe('package index of pip and uv in jobs, `…/simple`'),
  cargoRegistry: z
    .string()
    .refine(isCargoRegistry, 'must be https://… or sparse+https://…')
    .optional()
    .describe('what stands in for crates.io in jobs: a sparse index'),
  goproxy: z
    .string()
    .refine(isGoproxy, 'must be https://…, direct or off, several with commas or bars between')
    .optional()
    .describe('`GOPROXY` of jobs'),
  gosumdb: z
    .string()
    .regex(/^[\x21-\x7e]+( [\x21-\x7e]+)?$/, 'must be off, or a name and perhaps an address')
    .optional()
    .describe('`GOSUMDB` of jobs; `off` where the mirror has none'),
  mavenMirror: webAddress.describe('what stands in for Maven Central in jobs'),
  aptMirror: webAddress.describe('what stands in for Debian’s archive in jobs, `…/debian`'),
  aptSecurityMirror: webAddress.describe(
    'the same for its security updates; unless set, `aptMirror` with `-security` behind it if that ends in `/debian`',
  ),
  ubuntuMirror: webAddress.describe('the same for Ubuntu’s, `…/ubuntu`'),
  httpProxy: webAddress.describe('proxy of jobs for http'),
  httpsProxy: webAddress.describe('proxy of jobs for https'),
  proxyExcept: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be names and addresses with commas between')
    .optional()
    .describe('hosts that jobs reach without a proxy'),
  jobPidsLimit: integer(8).default(1024).describe('processes of one job'),
  idBase: integer(65_536, 4_000_000_000)
    .default(1_000_000)
    .describe(
      'first of the 65,536 host ids behind the ids inside a container, where it has a user namespace of its own',
    ),
  concurrency: integer(1, 1000)
    .optional()
    .describe('containers at once on this host; default is what capacity allows'),
  minFreeDiskMb: integer(0)
    .default(512)
    .describe(
      'disk that jobs may not reserve, MB; with less free no job starts and `/health` reports the disk as down',
    ),
  ballastMb: integer(0, 65_536)
    .default(64)
    .describe(
      'disk that is kept back and let go when the disk is full to the last byte, MB, and no more than a sixteenth of it; 0 for none',
    ),
  priorityAgeingSeconds: integer(1, 604_800)
    .default(600)
    .describe('one priority level is worth this much waiting time'),
  passingSeconds: integer(0, 604_800)
    .default(3600)
    .describe('a job that has waited this long is no longer delayed by later jobs of its owner'),
  tenantRunningJobs: integer(0)
    .optional()
    .describe('jobs that one owner may have running; no limit unless set'),
  tenantCpus: integer(0).optional().describe('cpus that the jobs of one owner may hold; no limit unless set'),
  tenantMemoryGb: integer(0)
    .optional()
    .describe('memory that the jobs of one owner may hold, GB; no limit unless set'),
  tenantQueuedJobs: integer(0).default(10_000).describe('jobs that one owner may have waiting'),
  tenantKeptMb: integer(0, 1_000_000)
    .default(10_240)
    .describe('artifacts that one owner may keep by `keep_hours`, together'),
  uploadsOpenPerOwner: integer(1).default(20).describe('uploads of one owner that take files at once'),
  uploadsOpen: integer(1).default(400).describe('uploads of all owners that take files at once'),
  streamsPerToken: integer(1)
    .default(32)
    .describe('streams of events that one token may have open, and sessions of MCP that listen'),
  streams: integer(1).default(1_000).describe('streams of all tokens that may be open at one API process'),
  waitsPerToken: integer(1)
    .default(256)
    .describe('requests of one token that may wait at once: `?wait=` and calls of MCP'),
  waits: integer(1).default(4_000).describe('requests of all tokens that may wait at one API process'),
  rateLimitPerSecond: integer(1).default(100).describe('requests a second for each token'),
  rateLimitBurst: integer(1).default(110).describe('depth of the token bucket'),
  logLevel: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('level of the service log'),
});
