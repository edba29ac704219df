/** Tools for what jobs left under /artifacts. */
import { mkdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { showBytes } from '../../cli/quantity.ts';
import type { ArtifactAnswer } from '../../client/answers.ts';
import { ClientError } from '../../client/client-error.ts';
import { segmentsOf } from '../../client/download.ts';
import { systemCode } from '../../errors.ts';
import type { Backend } from '../backend.ts';
import { isImage, readArtifact } from '../artifact-content.ts';
import { type CallToolResult, tool, type Tool } from '../definition.ts';
import { callOf } from '../job-report.ts';
import { inTime } from '../patience.ts';
import { present } from '../present.ts';
import { printable } from '../printable.ts';
import { artifactUri } from '../resources.ts';
import { absolute } from '../submissions.ts';
import { jobId, READS } from './arguments.ts';
import type { Shop } from './spawn.ts';

const MAX_LISTED = 200;
/** Larger ones are for a file, not for a model's context. */
const MAX_TEXT_BYTES = 32_000;
const MAX_IMAGE_BYTES = 500_000;

const listInput = z.strictObject({ job_id: jobId });

const listSchema = z.object({
  job_id: z.string(),
  artifacts: z.array(
    z.object({ name: z.string(), size_bytes: z.int(), sha256: z.string(), created_at: z.string() }),
  ),
  total_size_bytes: z.int(),
  expires_at: z.string().optional().describe('they are deleted then'),
  next: z.string(),
});

const downloadSchema = z.object({
  job_id: z.string(),
  artifact_name: z.string(),
  size_bytes: z.int(),
  sha256: z.string(),
  saved_to: z.string().optional().describe('path of the file'),
  text: z.string().optional().describe('the content, when it is text and small'),
  next: z.string(),
});

function downloadInput(local: boolean) {
  const disk = local
    ? {
        save_to: z
          .string()
          .min(1)
          .optional()
          .describe('absolute path of a file to write to; with a slash at its end, of a directory'),
        overwrite: z.boolean().optional().describe('whether a file that is there may be replaced'),
      }
    : {};
  return z.strictObject({
    job_id: jobId,
    artifact_name: z.string().min(1).max(4_096).describe('a name as get_job_artifacts gives it'),
    ...disk,
  });
}

// Once for all sessions: schemas are large.
const LOCAL_DOWNLOAD = downloadInput(true);
const REMOTE_DOWNLOAD = downloadInput(false);

export function artifactTools({ backend, files }: Shop): Tool[] {
  const local = files !== null;
  return [
    tool({
      name: 'get_job_artifacts',
      title: 'Artifacts of a job',
      description:
        'Lists what a job left under /artifacts: names, sizes, SHA-256. They are there once the job has ended, however it ended, and are kept for an hour unless the server is set otherwise.',
      input: listInput,
      output: listSchema,
      annotations: { ...READS, title: 'Artifacts of a job' },
      call: async ({ job_id: id }, context) =>
        inTime(context.signal, async (signal) => {
          const list = await backend.artifacts(id, signal);
          const artifacts = list.artifacts
            .slice(0, MAX_LISTED)
            .map(({ name, size_bytes, sha256, created_at }) => ({ name, size_bytes, sha256, created_at }));
          const first = artifacts[0];
          const next = first
            ? `${callOf('download_artifact', { job_id: id, artifact_name: first.name })} fetches one.`
            : 'The job left none: what it is to leave has to be written under /artifacts.';
          const rows = artifacts.map(
            ({ name, size_bytes }) => `${printable(name)} · ${showBytes(size_bytes)}`,
          );
          return {
            content: [{ type: 'text', text: [...rows, `Next: ${next}`].join('\n') }],
            structuredContent: {
              job_id: id,
              artifacts,
              total_size_bytes: list.total_size_bytes,
              ...present({ expires_at: list.expires_at }),
              next,
            },
          };
        }),
    }),
    tool({
      name: 'download_artifact',
      title: 'Fetch an artifact',
      description: local
        ? `Fetches one artifact. With save_to it is written to a file of this machine, whole and with its SHA-256 checked; a file that is there is not replaced unless overwrite is true. Without save_to a small text (${MAX_TEXT_BYTES / 1_000} kB) or image comes back as the answer.`
        : `Fetches one artifact: a small text (${MAX_TEXT_BYTES / 1_000} kB) or image comes back as the answer. Over this connection nothing can be saved to a local file; larger ones are read over the HTTP API, as the answer says.`,
      input: local ? LOCAL_DOWNLOAD : REMOTE_DOWNLOAD,
      output: downloadSchema,
      annotations: { ...READS, title: 'Fetch an artifact', readOnlyHint: !local },
      async call(args, context) {
        const { job_id: id, artifact_name: name } = args;
        const { save_to: saveTo, overwrite = false } = args as { save_to?: string; overwrite?: boolean };
        const artifact = (await backend.artifacts(id, context.signal)).artifacts.find(
          (each) => each.name === name,
        );
        if (!artifact) {
          throw new ClientError(
            'artifact_not_found',
            `The job ${id} left no artifact ${JSON.stringify(name)}.`,
          );
        }
        if (files && saveTo !== undefined) {
          // As long as it takes: a gigabyte over a slow line is nothing that a model could fetch in pieces.
          const target = await targetOf(absolute(saveTo), artifact);
          await files.save(id, artifact, target, { force: overwrite, signal: context.signal });
          const text = `${printable(name)} (${showBytes(artifact.size_bytes)}) saved to ${target}.`;
          return answer(id, artifact, text, { saved_to: target });
        }
        return inTime(context.signal, (signal) => inline(backend, id, artifact, local, signal));
      },
    }),
  ];
}

async function inline(
  backend: Backend,
  id: string,
  artifact: ArtifactAnswer,
  local: boolean,
  signal: AbortSignal,
): Promise<CallToolResult> {
  const { name, size_bytes: size } = artifact;
  const limit = isImage(name) ? MAX_IMAGE_BYTES : MAX_TEXT_BYTES;
  const elsewhere = local
    ? `Call ${callOf('download_artifact', { job_id: id, artifact_name: name, save_to: `/tmp/${basename(name)}` })} with a path of your choice.`
    : `GET /jobs/${id}/artifacts/${name.split('/').map(encodeURIComponent).join('/')} of the HTTP API, with the same token, gives the bytes.`;
  if (size > limit)
    return answer(id, artifact, `${printable(name)} is ${showBytes(size)}: too large to show.`, {
      next: elsewhere,
    });
  const content = await readArtifact(backend, id, artifact, signal);
  if (content.kind === 'text') return answer(id, artifact, content.text, { text: content.text });
  if (content.kind === 'binary') {
    return answer(id, artifact, `${printable(name)} is ${showBytes(size)} and not text.`, {
      next: elsewhere,
    });
  }
  const result = answer(id, artifact, `${printable(name)}, ${showBytes(size)}`, {});
  return {
    ...result,
    content: [...result.content, { type: 'image', data: content.base64, mimeType: content.mimeType }],
  };
}

function answer(
  id: string,
  { name, size_bytes, sha256 }: ArtifactAnswer,
  text: string,
  more: { saved_to?: string; text?: string; next?: string },
): CallToolResult {
  const next = more.next ?? 'Nothing is left to do.';
  const link = { type: 'resource_link' as const, uri: artifactUri(id, name), name };
  return {
    content: [
      { type: 'text', text: more.next === undefined ? text : `${text}\nNext: ${next}` },
      ...(more.next === undefined ? [] : [link]),
    ],
    structuredContent: {
      job_id: id,
      artifact_name: name,
      size_bytes,
      sha256,
      ...present({ saved_to: more.saved_to, text: more.text }),
      next,
    },
  };
}

/** A directory, which is one that is there or ends with a slash, gets the artifact under the last part of its name. */
async function targetOf(path: string, { name }: ArtifactAnswer): Promise<string> {
  const last = segmentsOf(name).at(-1) ?? '';
  try {
    if (path.endsWith('/')) await mkdir(path, { recursive: true });
    return (await stat(path)).isDirectory() ? join(path, last) : path;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return path;
    throw new ClientError('download_failed', `${path} can't be written (${code ?? 'unknown'}).`, {
      cause: error,
    });
  }
}
