import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { FlashpodsError } from '../../../src/errors.ts';
import type { ArtifactRecord } from '../../../src/jobs/job.ts';
import type { JobResults } from '../../../src/jobs/results.ts';
import { type RouteContext, viewOf } from '../../context.ts';
import { answerError } from '../../middleware/errors.ts';
import { json, operation, type Operation } from '../../operation.ts';
import { entityTagMatches, parseRange } from './byte-range.ts';
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

export const artifactOperations = (results: JobResults): readonly Operation[] => [
  operation({
    id: 'listArtifacts',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/artifacts',
    summary: 'What the job left in /artifacts',
    scope: 'jobs:read',
    params: jobIdParams,
    answers: { 200: json('The artifacts.', artifactListSchema) },
    errors: STATE_ERRORS,
    async handle(ctx, { params: { id } }) {
      const { artifacts, expiresAt } = await results.collected(id, viewOf(ctx));
      ctx.body = presentArtifacts(artifacts, expiresAt);
    },
  }),
  operation({
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
    async handle(ctx, { params: { id, name } }) {
      const { job, artifact } = await results.artifact(id, viewOf(ctx), name);
      await answerWithFile(ctx, artifact, () => results.open(job, artifact));
    },
  }),
  operation({
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
    async handle(ctx, { params: { id } }) {
      const collected = await results.collected(id, viewOf(ctx));
      ctx.set('Accept-Ranges', 'none');
      if (answeredAsKnown(ctx, archiveTag(collected.artifacts))) return;
      ctx.attachment(`${collected.job.id}-artifacts.tar.gz`);
      ctx.type = 'application/gzip';
      ctx.status = 200;
      if (ctx.method === 'HEAD') {
        // Not an empty text, whose length would be told as the archive's.
        ctx.body = Readable.from([]);
        return;
      }
      ctx.body = await results.archive(collected);
    },
  }),
];

async function answerWithFile(
  ctx: RouteContext,
  artifact: ArtifactRecord,
  openFile: () => ReturnType<JobResults['open']>,
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
  const { start, end } = range ?? { start: 0, end: size - 1 };
  ctx.status = range ? 206 : 200;
  if (range) ctx.set('Content-Range', `bytes ${start}-${end}/${size}`);
  if (ctx.method === 'HEAD' || size === 0) {
    ctx.body = '';
  } else {
    ctx.body = (await openFile()).read({ first: start, last: end });
  }
  ctx.set('Content-Length', String(end - start + 1));
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
