import { basename } from 'node:path';
import { openArtifact } from '../../../src/artifacts/artifact-files.ts';
import { parseArtifactName } from '../../../src/artifacts/artifact-name.ts';
import { FlashpodsError } from '../../../src/errors.ts';
import type { ArtifactRecord, Job } from '../../../src/jobs/job.ts';
import { isTerminal } from '../../../src/jobs/states.ts';
import { type RouteContext, viewOf } from '../../context.ts';
import { answerError } from '../../middleware/errors.ts';
import type { Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { type ByteRange, entityTagMatches, parseRange } from './byte-range.ts';
import { presentArtifacts } from './present.ts';
import { artifactListSchema, artifactParams, jobIdParams } from './schema.ts';

const STATE_ERRORS = [
  'job_not_found',
  'artifacts_not_available',
  'copy_in_progress',
  'artifacts_deleted',
] as const;

export const artifactOperations = ({
  jobs,
  store,
  config,
}: Pick<ApiResources, 'jobs' | 'store' | 'config'>): readonly Operation[] => [
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
      await answerWithFile(ctx, artifact, () => openArtifact(config.artifactsPath, job.id, artifact.name));
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
  openFile: () => ReturnType<typeof openArtifact>,
): Promise<void> {
  const tag = `"${artifact.sha256}"`;
  ctx.set('ETag', tag);
  ctx.set('Accept-Ranges', 'bytes');
  ctx.set('Cache-Control', 'private, no-cache');
  const known = ctx.get('If-None-Match');
  if (known !== '' && entityTagMatches(known, tag)) {
    ctx.status = 304;
    return;
  }
  const size = artifact.sizeBytes;
  const ifRange = ctx.get('If-Range');
  const range = ifRange === '' || ifRange === tag ? parseRange(ctx.get('Range'), size) : null;
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
    ctx.body = file.handle.createReadStream({ start: first, end: last });
  }
  ctx.set('Content-Length', String(last - first + 1));
}
