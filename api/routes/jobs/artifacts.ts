import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { FlashpodsError } from '../../../src/errors.ts';
import type { ArtifactRecord } from '../../../src/jobs/job.ts';
import { LEFT_OUT_NAME } from '../../../src/artifacts/archive.ts';
import type { Collected, JobResults, NamedArtifact } from '../../../src/jobs/results.ts';
import { type RouteContext, viewOf } from '../../context.ts';
import { answerError } from '../../middleware/errors.ts';
import { json, operation, type Operation } from '../../operation.ts';
import { entityTagMatches, parseRange } from './byte-range.ts';
import { presentArtifact, presentArtifacts } from './present.ts';
import {
  archiveHeaders,
  archiveQuery,
  artifactHeaders,
  artifactListSchema,
  artifactParams,
  jobIdParams,
  listArtifactsQuery,
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
    description:
      '`complete` is false where the job left more than is here, and `warnings` says what and why.',
    params: jobIdParams,
    query: listArtifactsQuery,
    answers: { 200: json('The artifacts.', artifactListSchema) },
    errors: STATE_ERRORS,
    async handle(ctx, { params: { id }, query: { match, limit, cursor = 0 } }) {
      const collected = await results.collected(id, viewOf(ctx), match ?? null);
      ctx.body = presentArtifacts(collected, { from: cursor, limit });
    },
  }),
  operation({
    id: 'getArtifact',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/artifacts/{name…}',
    summary: 'The bytes of one artifact',
    description:
      '`Range` (one range), `If-Range` and `If-None-Match` are honoured; the ETag is the SHA-256. ' +
      'A symlink is answered with the file that it leads to.',
    scope: 'jobs:read',
    params: artifactParams,
    headers: artifactHeaders,
    answers: {
      200: {
        description: 'The artifact.',
        content: { 'application/octet-stream': 'binary' },
        headers: FILE_HEADERS,
      },
      206: { description: 'The range asked for.', content: { 'application/octet-stream': 'binary' } },
      304: { description: 'The caller has it already.' },
      416: { description: 'The range lies beyond the end; the error is `invalid_request`.' },
    },
    errors: ['invalid_artifact_name', 'artifact_not_found', 'artifact_not_a_file', ...STATE_ERRORS],
    async handle(ctx, { params: { id, name } }) {
      const named = await results.artifact(id, viewOf(ctx), name);
      await answerWithFile(ctx, named, () => results.open(named.job, named.file));
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
      'One that could not be completed breaks off without the end of chunked transfer. `If-None-Match` is honoured. ' +
      `Where the job left more than is here, its last file is \`${LEFT_OUT_NAME}\`, which says what.`,
    scope: 'jobs:read',
    params: jobIdParams,
    query: archiveQuery,
    headers: archiveHeaders,
    answers: {
      200: {
        description: 'The archive.',
        content: { 'application/gzip': 'binary' },
        headers: { 'X-Artifacts-Complete': '`false` where the job left more than is here' },
      },
      304: { description: 'The caller has it already.' },
    },
    errors: STATE_ERRORS,
    async handle(ctx, { params: { id }, query: { match } }) {
      const collected = await results.collected(id, viewOf(ctx), match ?? null);
      ctx.set('Accept-Ranges', 'none');
      if (answeredAsKnown(ctx, archiveTag(collected))) return;
      ctx.set('X-Artifacts-Complete', String(collected.job.artifactWarnings.length === 0));
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
  { artifact, file }: NamedArtifact,
  openFile: () => ReturnType<JobResults['open']>,
): Promise<void> {
  const tag = `"${file.sha256 ?? ''}"`;
  ctx.set('Accept-Ranges', 'bytes');
  if (answeredAsKnown(ctx, tag)) return;
  tellOfFile(ctx, artifact, file);
  const size = file.sizeBytes;
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

/** What `GET …/artifacts` says of it, for a caller that asks for its bytes only. */
function tellOfFile(ctx: RouteContext, artifact: ArtifactRecord, file: ArtifactRecord): void {
  const { mode, mtime } = presentArtifact(file);
  const target = artifact.linkTarget;
  if (mode !== null) ctx.set('X-Artifact-Mode', mode);
  if (typeof target === 'string') ctx.set('X-Artifact-Link-Target', encodeURI(target));
  if (mtime === null) return;
  ctx.set('X-Artifact-Mtime', mtime);
  // RFC 9110, 8.8.2.1: none that lies in the future.
  const at = Date.parse(mtime);
  if (at <= Date.now()) ctx.set('Last-Modified', new Date(at).toUTCString());
}

const FILE_HEADERS = {
  'X-Artifact-Mode': 'its permissions in octal, such as `0755`',
  'X-Artifact-Mtime': 'when it was last changed, ISO 8601 in UTC to the nanosecond',
  'X-Artifact-Link-Target': 'of a symlink: its target, with percent signs as in a URI',
  'Last-Modified': 'when it was last changed, to the second',
};

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
const archiveTag = ({ artifacts, parents, job }: Collected): string => {
  const members = [...parents, ...artifacts].map(({ createdAt: _createdAt, ...member }) => member);
  const content = JSON.stringify([members, job.artifactWarnings]);
  return `W/"${createHash('sha256').update(content).digest('hex')}"`;
};
