import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { archiveArtifacts } from '../../../src/artifacts/archive.ts';
import { parseArtifactName } from '../../../src/artifacts/artifact-name.ts';
import type { ArtifactStore, OpenArtifact } from '../../../src/artifacts/artifact-store.ts';
import { FlashpodsError } from '../../../src/errors.ts';
import type { ArtifactRecord, Job } from '../../../src/jobs/job.ts';
import { isTerminal } from '../../../src/jobs/states.ts';
import { type RouteContext, viewOf } from '../../context.ts';
import { answerError } from '../../middleware/errors.ts';
import type { Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { type ByteRange, entityTagMatches, parseRange } from './byte-range.ts';
import { presentArtifacts } from './present.ts';
import {
  archiveHeaders,
  artifactHeaders,
  artifactListSchema,
  artifactParams,
  jobIdParams,
} from './schema.ts';

const STATE_ERRORS = [
  'job_not_found',
  'artifacts_not_available',
  'copy_in_progress',
  'artifacts_deleted',
] as const;

export const artifactOperations = ({
  jobs,
  store,
  artifacts: files,
  config,
}: Pick<ApiResources, 'jobs' | 'store' | 'artifacts' | 'config'>): readonly Operation[] => [
  {
    id: 'listArtifacts',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/artifacts',
    summary: 'What the job left in /artifacts',
    scope: 'jobs:read',
    params: jobIdParams,
    answers: { 200: { description: 'The artifacts.', content: { 'application/json': artifactListSchema } } },
    errors: STATE_ERRORS,
    async handle(ctx) {
      const job = assertCollected(await jobs.get(ctx.params['id'] ?? '', viewOf(ctx)));
      const expiresAt =
        job.completedAt === null ? null : job.completedAt + config.artifactRetentionHours * 3_600_000;
      ctx.body = presentArtifacts(await store.artifacts(job.id), expiresAt);
    },
  },
  {
    id: 'getArtifact',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/artifacts/{name…}',
    summary: 'The bytes of one artifact',
    description: '`Range` (one range), `If-Range` and `If-None-Match` are honoured; the ETag is the SHA-256.',
    scope: 'jobs:read',
    params: artifactParams,
    headers: artifactHeaders,
    answers: {
      200: { description: 'The artifact.', content: { 'application/octet-stream': 'binary' } },
      206: { description: 'The range asked for.', content: { 'application/octet-stream': 'binary' } },
      304: { description: 'The caller has it already.' },
      416: { description: 'The range lies beyond the end; the error is `invalid_request`.' },
    },
    errors: ['invalid_artifact_name', 'artifact_not_found', ...STATE_ERRORS],
    async handle(ctx) {
      const name = parseArtifactName(ctx.params['name'] ?? '');
      const job = assertCollected(await jobs.get(ctx.params['id'] ?? '', viewOf(ctx)));
      // Only what was recorded is ever opened: the name of a request never becomes a path by itself.
      const artifact = (await store.artifacts(job.id)).find((candidate) => candidate.name === name);
      if (!artifact) throw new FlashpodsError('artifact_not_found');
      await answerWithFile(ctx, artifact, () => files.open(job.id, artifact.name));
    },
  },
  {
    id: 'getArtifactArchive',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/artifacts.tar.gz',
    summary: 'All artifacts in one archive',
    description:
      'A gzipped tar, made while it is sent: there is no `Content-Length` and no `Range`. ' +
      'One that could not be completed breaks off without the end of chunked transfer. `If-None-Match` is honoured.',
    scope: 'jobs:read',
    params: jobIdParams,
    headers: archiveHeaders,
    answers: {
      200: { description: 'The archive.', content: { 'application/gzip': 'binary' } },
      304: { description: 'The caller has it already.' },
    },
    errors: STATE_ERRORS,
    async handle(ctx) {
      const job = assertCollected(await jobs.get(ctx.params['id'] ?? '', viewOf(ctx)));
      const artifacts = await store.artifacts(job.id);
      ctx.set('Accept-Ranges', 'none');
      if (answeredAsKnown(ctx, archiveTag(artifacts))) return;
      ctx.attachment(`${job.id}-artifacts.tar.gz`);
      ctx.type = 'application/gzip';
      ctx.status = 200;
      if (ctx.method === 'HEAD') {
        // Not an empty text, whose length would be told as the archive's.
        ctx.body = Readable.from([]);
        return;
      }
      await assertThere(files, job.id, artifacts[0]);
      ctx.body = archiveArtifacts(files, job.id, artifacts);
    },
  },
];

/** @throws FlashpodsError artifacts_not_available, copy_in_progress, artifacts_deleted */
function assertCollected(job: Job): Job {
  if (job.artifactsDeletedAt !== null || job.status === 'cleaned')
    throw new FlashpodsError('artifacts_deleted');
  if (isTerminal(job.status)) return job;
  throw new FlashpodsError(job.endedAt === null ? 'artifacts_not_available' : 'copy_in_progress');
}

async function answerWithFile(
  ctx: RouteContext,
  artifact: ArtifactRecord,
  openFile: () => Promise<OpenArtifact | null>,
): Promise<void> {
  const tag = `"${artifact.sha256}"`;
  ctx.set('Accept-Ranges', 'bytes');
  if (answeredAsKnown(ctx, tag)) return;
  const size = artifact.sizeBytes;
  const ifRange = ctx.get('If-Range');
  // Ranges are defined for GET alone; a weak tag, a date or another tag in If-Range means the whole.
  const wanted = ctx.method === 'GET' && (ifRange === '' || ifRange === tag);
  const range = wanted ? parseRange(ctx.get('Range'), size) : null;
  if (range === 'unsatisfiable') {
    ctx.set('Content-Range', `bytes */${size}`);
    const message = `\`Range\`: begins beyond the end of ${size} bytes`;
    answerError(ctx, new FlashpodsError('invalid_request', message, { details: { field: 'Range' } }), 416);
    return;
  }
  ctx.attachment(basename(artifact.name));
  if (ctx.response.get('Content-Type') === '') ctx.set('Content-Type', 'application/octet-stream');
  const { first, last }: ByteRange = range ?? { first: 0, last: size - 1 };
  ctx.status = range ? 206 : 200;
  if (range) ctx.set('Content-Range', `bytes ${first}-${last}/${size}`);
  if (ctx.method === 'HEAD' || size === 0) {
    ctx.body = '';
  } else {
    const file = await openFile();
    // Deleted between the look at the row and now.
    if (!file) throw new FlashpodsError('artifacts_deleted');
    if (file.sizeBytes !== size) {
      await file.close();
      throw new Error(
        `artifact ${JSON.stringify(artifact.name)} has ${file.sizeBytes} bytes instead of ${size}`,
      );
    }
    ctx.body = file.read({ first, last });
  }
  ctx.set('Content-Length', String(last - first + 1));
}

/** Sets the validator; answers 304 if the caller has this already. @returns whether it did */
function answeredAsKnown(ctx: RouteContext, tag: string): boolean {
  ctx.set('ETag', tag);
  ctx.set('Cache-Control', 'private, no-cache');
  const known = ctx.get('If-None-Match');
  if (known === '' || !entityTagMatches(known, tag)) return false;
  ctx.status = 304;
  return true;
}

/** Weak: the same files, but how they are compressed may differ from one version to the next. */
const archiveTag = (artifacts: readonly ArtifactRecord[]): string => {
  const content = JSON.stringify(artifacts.map(({ name, sha256 }) => [name, sha256]));
  return `W/"${createHash('sha256').update(content).digest('hex')}"`;
};

/** @throws FlashpodsError artifacts_deleted when the files went between the look at the row and now */
async function assertThere(
  files: ArtifactStore,
  jobId: string,
  artifact: ArtifactRecord | undefined,
): Promise<void> {
  if (!artifact) return;
  const file = await files.open(jobId, artifact.name);
  if (!file) throw new FlashpodsError('artifacts_deleted');
  await file.close();
}
