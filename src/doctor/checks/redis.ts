/** The Redis that is configured, that of `up`, or the program that `up` would start. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { messageOf } from '../../errors.ts';
import { maskPassword } from '../../observability/masked.ts';
import { type Check, failure, type Finding, ok, oneLine, warning } from '../check.ts';
import { printed } from '../program.ts';
import type { DoctorResources } from '../resources.ts';

const TIMEOUT_MS = 12_000;
const ANSWER_MS = 3_000;
/** BullMQ needs what came with it. */
const OLDEST = [6, 2] as const;

export const redisChecks = (resources: DoctorResources): readonly Check[] => [
  { name: 'redis', timeoutMs: TIMEOUT_MS, run: () => redis(resources) },
];

async function redis({ config, auditSums }: DoctorResources): Promise<Finding> {
  if (config.redisUrl !== undefined) {
    const path = /^unix:\/\/(\/.+)$/.exec(config.redisUrl)?.[1];
    const client = path === undefined ? new Redis(config.redisUrl, OPTIONS) : new Redis({ ...OPTIONS, path });
    return look(client, maskPassword(config.redisUrl), auditSums);
  }
  const ofUp = join(config.runPath, 'redis.sock');
  if (existsSync(ofUp)) {
    const found = await look(new Redis({ ...OPTIONS, path: ofUp }), 'that of `flashpods up`', auditSums);
    // A socket that was left by a server that is gone is taken away by the next start.
    if (!found.message.includes('ECONNREFUSED')) return found;
  }
  const version = await printed('redis-server', '--version');
  if (version === null)
    return failure(
      'redis-server is not installed, and no other Redis is configured',
      'On Debian: apt-get install redis-server; or name a Redis with FLASHPODS_REDIS_URL.',
    );
  const [, number = 'of an unknown version'] = /v=(\S+)/.exec(version) ?? [];
  return isOld(number)
    ? failure(`redis-server ${number} is too old`, `Install ${OLDEST.join('.')} or newer.`)
    : ok(`redis-server ${number} is installed; \`flashpods up\` starts one of its own`);
}

const OPTIONS = {
  lazyConnect: true,
  retryStrategy: () => null,
  connectTimeout: ANSWER_MS,
  commandTimeout: ANSWER_MS,
  maxRetriesPerRequest: 0,
  enableReadyCheck: false,
} as const;

async function look(client: Redis, name: string, auditSums: DoctorResources['auditSums']): Promise<Finding> {
  let problem: unknown;
  client.on('error', (error: unknown) => (problem = error)); // says more than the call that fails with it
  try {
    await client.connect();
    const info = await client.info();
    const found = judge(name, (key) => new RegExp(`^${key}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '');
    if (found.grade === 'failure') return found;
    const differences = await auditSums(client);
    return differences.length === 0
      ? found
      : failure(
          `${name}: what is reserved does not add up: ${differences.join('; ')}`,
          'Restart Redis: the sums are then counted anew from the reservations, and no job is lost.',
        );
  } catch (error) {
    const why = maskPassword(oneLine(messageOf(problem ?? error)));
    return /NOAUTH|WRONGPASS|NOPERM/.test(why)
      ? failure(`${name} refuses us: ${why}`, 'Put user and password into FLASHPODS_REDIS_URL.')
      : failure(
          `${name} does not answer: ${why}`,
          'Start it, or correct FLASHPODS_REDIS_URL; without one `flashpods up` starts its own.',
        );
  } finally {
    client.disconnect();
  }
}

function judge(name: string, value: (key: string) => string): Finding {
  const version = value('redis_version');
  const known = `${version}, ${name}`;
  if (isOld(version)) return failure(`${known} is too old`, `Install ${OLDEST.join('.')} or newer.`);
  if (value('role') === 'slave')
    return failure(`${known} is a replica, which takes no writes`, 'Name the master in FLASHPODS_REDIS_URL.');
  const policy = value('maxmemory_policy');
  if (policy !== '' && policy !== 'noeviction')
    return failure(
      `${known} may throw queued jobs and reservations away (maxmemory-policy ${policy})`,
      'redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file',
    );
  if (value('aof_enabled') === '0')
    return warning(
      `${known} keeps no append-only file: after a crash of it the queue is rebuilt from the database, which takes a moment`,
      'redis-cli CONFIG SET appendonly yes, and the same in its configuration file',
    );
  if (value('aof_last_write_status') === 'err')
    return failure(`${known} can't write its append-only file`, 'Free space on its disk; its log says more.');
  return ok(`${known}: noeviction, append-only file; the sums of reservations agree`);
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  // What does not say is not refused for it.
  return major > 0 && (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]));
}
