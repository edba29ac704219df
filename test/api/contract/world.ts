/** A running API whose jobs, uploads, tokens and journal are in every state that its document speaks of. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ProcessRateLimiter, type RateLimiter } from '../../../api/rate-limiter.ts';
import { stocksOf } from '../../../queues/images/stocks.ts';
import type { QueueResources } from '../../../queues/resources.ts';
import { BASE_IMAGE } from '../../../src/containers/base-image.ts';
import { hostImage } from '../../../src/images/image.ts';
import type { HostCache } from '../../../src/caches/cache.ts';
import { CacheService } from '../../../src/caches/service.ts';
import { ImageService } from '../../../src/images/service.ts';
import { newJobId } from '../../../src/ids.ts';
import { LocalLogStore } from '../../../src/logs/local-log-store.ts';
import { into, newJob } from '../../support/jobs.ts';
import { makeCollecting, makeCompleted, makeRunning } from '../job-states.ts';
import { type RunningApi, startApi } from '../running-api.ts';
import { tarOf } from '../tar.ts';

/** Requests from here are over their rate. */
export const LIMITED_ADDRESS = '127.0.0.2';

export interface World {
  readonly api: RunningApi;
  /** By what they may do; `limited` may do everything and has used up its rate. */
  readonly tokens: {
    readonly admin: string;
    readonly reader: string;
    readonly uploader: string;
    readonly limited: string;
  };
  readonly jobs: string[];
  readonly uploads: string[];
  /** Of two parts that are within the limit each, but not together; takes files. */
  readonly tooLarge: string;
  /** Bodies of `application/x-tar`. */
  readonly tars: readonly Buffer[];
  readonly clientJobIds: readonly string[];
  /** The beginning, one that is not kept, and one that never was. */
  readonly eventIds: readonly string[];
  readonly artifactNames: readonly string[];
  /** The first answers for jobs; each of the others can be removed once. */
  readonly hostNames: readonly string[];
}

export async function createWorld(): Promise<World> {
  const limited = { address: `address:${LIMITED_ADDRESS}`, token: '' };
  const api = await startApi({
    // However long the requests take, its uploads are there.
    limits: { oneBytes: 100_000, totalBytes: 1_000_000_000, openMs: 3_600_000, unusedMs: 3_600_000 },
    images: imagesOf,
    caches: cachesOf,
    rateLimiter: () => rateLimiter((key) => key === limited.address || key === limited.token),
  });
  const token = async (name: string, scopes: readonly string[]): Promise<string> => {
    const { status, body } = await api.caller.json('POST', '/tokens', { name, owner: 'default', scopes });
    assert.equal(status, 201);
    return String(body['token']);
  };
  const tokens = {
    admin: api.token,
    reader: await token('reader', ['jobs:read']),
    uploader: await token('uploader', ['uploads:write']),
    limited: await token('limited', ['admin']),
  };
  const row = await api.database.read((db) =>
    db<{ id: string; name: string }>('tokens').where({ name: 'limited' }).first(),
  );
  limited.token = `token:${row?.id}`;

  const hostNames = ['h1', ...Array.from({ length: 6 }, (_, index) => `spare-${index}`)];
  for (const name of hostNames) await api.hosts.register(name, { cpusMilli: 4_000, memoryMib: 8_192 });
  const artifactNames = ['out/a b.txt', 'ünï.bin', 'empty'];
  const jobs = [
    await api.caller.submit('true'),
    await running(api),
    await collecting(api),
    await completed(api, artifactNames),
    await completed(api, []),
    await deleted(api, artifactNames),
    await cleaned(api),
    await filesGone(api),
    await rerunOf(api, { when_busy: 'reject', cpus: 1, memory_gb: 1 }),
    await rerunOf(api, { cpus: 8, memory_gb: 16 }),
    await otherOwner(api),
  ];
  await forgetOldEvents(api);
  return {
    api,
    tokens,
    jobs,
    uploads: await uploadsInAllStates(api),
    tooLarge: await tooLarge(api),
    tars: [
      await tarOf(
        { name: 'a.txt', content: 'hello' },
        { name: 'd', type: 'directory' },
        { name: 'd/b', content: '' },
      ),
      await tarOf({ name: 'ünï', content: 'x'.repeat(1_000) }),
      await tarOf({ name: 'big', content: Buffer.alloc(150_000) }),
      await tarOf({ name: '../out', content: 'x' }),
      Buffer.from('no tar at all, and shorter than a block'),
      Buffer.alloc(0),
    ],
    clientJobIds: Array.from({ length: 10 }, () => randomUUID()),
    eventIds: ['0', '1', '999999999'],
    artifactNames,
    hostNames,
  };
}

/** Of a host that no worker has: one that can be removed, and one that a job uses. */
export const IMAGES = ['registry.example/free:1', 'registry.example/busy:1'] as const;

function imagesOf(queues: QueueResources): ImageService {
  const busy = new Set<string>();
  return new ImageService({
    async reports() {
      const images = [BASE_IMAGE, ...IMAGES].map((reference) =>
        hostImage({ reference, digest: 'sha256:0', sizeBytes: 1 }, {}),
      );
      return new Map([...(await stocksOf(queues)), ['h1', images]]);
    },
    removals: {
      ask(hosts, { reference }) {
        const id = randomUUID();
        if (reference === IMAGES[1]) busy.add(id);
        return Promise.resolve(id);
      },
      outcomes: (id) => Promise.resolve(new Map([['h1', { state: busy.has(id) ? 'in use' : 'removed' }]])),
    },
  });
}

/** That a host has, and that none has. */
export const CACHES = ['npm', 'gone'] as const;

const cachesOf = (queues: QueueResources): CacheService =>
  new CacheService({
    reports: async () => new Map([...(await queues.caches.reports(queues.queue)), ['h1', [CACHE]]]),
    removals: {
      ask: () => Promise.resolve(randomUUID()),
      outcomes: () => Promise.resolve(new Map([['h1', { state: 'removed' }]])),
    },
  });

const CACHE: HostCache = {
  owner: 'default',
  name: CACHES[0],
  scope: 'default',
  path: '/home/job/.npm',
  sizeBytes: 1_000,
  writtenAt: 1,
  writtenBy: newJobId(),
  usedAt: 2,
  hits: 3,
};

/** As the setting of a rate does: generous for all but those who have used theirs up. */
function rateLimiter(isLimited: (key: string) => boolean): RateLimiter {
  const generous = new ProcessRateLimiter({ perSecond: 1_000_000, burst: 1_000_000 });
  const strict = new ProcessRateLimiter({ perSecond: 0.001, burst: 1 });
  const of = (key: string): RateLimiter => (isLimited(key) ? strict : generous);
  return { take: (key) => of(key).take(key), look: (key) => of(key).look(key) };
}

async function running(api: RunningApi): Promise<string> {
  const id = await api.caller.submit('true');
  await makeRunning(api.store, id);
  return id;
}

async function collecting(api: RunningApi): Promise<string> {
  const id = await api.caller.submit('true');
  await makeCollecting(api.store, id);
  return id;
}

async function completed(api: RunningApi, names: readonly string[]): Promise<string> {
  const id = await api.caller.submit('true', { labels: { of: 'world' } });
  const content = (name: string): string => (name === 'empty' ? '' : `content of ${name}`);
  for (const name of names) {
    await mkdir(join(api.dir, 'artifacts', id, name, '..'), { recursive: true });
    await writeFile(join(api.dir, 'artifacts', id, name), content(name));
  }
  const spoolPath = join(api.dir, `${id}.spool`);
  await writeFile(spoolPath, '2026-01-02T03:04:05.678901234+00:00 stdout F hello\n'.repeat(5));
  await mkdir(join(api.dir, 'logs'), { recursive: true });
  await (await new LocalLogStore(join(api.dir, 'logs')).capture({ jobId: id, spoolPath })).finish();
  await makeCompleted(
    api.store,
    id,
    names.map((name) => ({
      name,
      sizeBytes: Buffer.byteLength(content(name)),
      sha256: createHash('sha256').update(content(name)).digest('hex'),
      createdAt: Date.now(),
    })),
  );
  return id;
}

async function deleted(api: RunningApi, names: readonly string[]): Promise<string> {
  const id = await completed(api, names);
  const { epoch } = (await api.queries.get(id)) ?? { epoch: 0 };
  await api.store.patch(id, epoch, { logsDeletedAt: Date.now(), artifactsDeletedAt: Date.now() });
  return id;
}

async function cleaned(api: RunningApi): Promise<string> {
  const id = await completed(api, []);
  await api.store.transition(id, { from: ['completed'], ...into('cleaning'), actor: 'test' });
  await api.store.transition(id, { from: ['cleaning'], ...into('cleaned'), actor: 'test' });
  return id;
}

/** A job whose files are not kept any longer. */
async function filesGone(api: RunningApi): Promise<string> {
  const files = await finalized(api);
  const job = await api.caller.submit('true', { files_id: files });
  await api.database.write((trx) => trx('uploads').where({ id: files }).update({ files_deleted_at: 1 }));
  return job;
}

/** Accepted when there was room for it, as far as `POST /jobs/{id}/rerun` can tell. */
async function rerunOf(api: RunningApi, request: Record<string, unknown>): Promise<string> {
  const { job } = await api.store.create(newJob(request));
  return job.id;
}

async function otherOwner(api: RunningApi): Promise<string> {
  const { job } = await api.store.create(newJob({}, { owner: 'other' }));
  return job.id;
}

/** As if the journal had been cut: its first entries are not kept any longer. */
async function forgetOldEvents(api: RunningApi): Promise<void> {
  await api.database.write((trx) => trx('events').where('position', '<', 5).delete());
}

async function upload(api: RunningApi, request: Record<string, unknown> = {}): Promise<string> {
  const { status, body } = await api.caller.json('POST', '/uploads', request);
  assert.equal(status, 201, JSON.stringify(body));
  return String(body['upload_id']);
}

async function send(api: RunningApi, id: string, name: string, bytes: number): Promise<void> {
  const body = new Uint8Array(await tarOf({ name, content: Buffer.alloc(bytes, 'x') }));
  const headers = { 'content-type': 'application/x-tar' };
  const answer = await api.caller.fetch(`/uploads/${id}/files`, { method: 'PUT', headers, body });
  assert.equal(answer.status, 200);
  await answer.arrayBuffer();
}

async function finalized(
  api: RunningApi,
  options: Record<string, unknown> = {},
  bytes = 10,
): Promise<string> {
  const id = await upload(api);
  await send(api, id, 'f', bytes);
  const { status, body } = await api.caller.json('POST', `/uploads/${id}/finalize`, options);
  assert.equal(status, 200, JSON.stringify(body));
  return id;
}

async function uploadsInAllStates(api: RunningApi): Promise<string[]> {
  const consumed = await finalized(api);
  await api.caller.submit('true', { files_id: consumed });
  const expired = await upload(api);
  await api.uploadStore.expire(expired);
  const past = `upload_${'past'.padEnd(12, '0')}`;
  await api.uploadStore.create({ id: past, owner: 'default', expiresAt: Date.now() - 1 });
  return [
    await upload(api),
    await finalized(api),
    await finalized(api, { reusable: true }),
    consumed,
    expired,
    past,
  ];
}

async function tooLarge(api: RunningApi): Promise<string> {
  const id = await upload(api, { base: await finalized(api, { reusable: true }, 60_000) });
  await send(api, id, 'g', 60_000);
  return id;
}
