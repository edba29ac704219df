/** Tools for what jobs left under /artifacts. */
import { mkdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { showBytes } from '../../cli/quantity.ts';
import type { ArtifactAnswer, ArtifactList } from '../../client/answers.ts';
import { isGitName, repositoryInTheWay, segmentsOf } from '../../client/artifact-places.ts';
import { ClientError } from '../../client/client-error.ts';
import { bytesOf, chooseArtifacts, fileOf } from '../../client/choose-artifacts.ts';
import { newestWithLabel } from '../../client/labelled-job.ts';
import { systemCode } from '../../errors.ts';
import { isPlainName } from '../../observability/unsafe-text.ts';
import type { Backend } from '../backend.ts';
import { isImage, readArtifact } from '../artifact-content.ts';
import { type CallToolResult, tool, type Tool } from '../definition.ts';
import { fenced } from '../job-text.ts';
import { callOf, fetching } from '../next-step.ts';
import { inTime } from '../patience.ts';
import { present } from '../present.ts';
import { clip, printable, printableText, quoted } from '../printable.ts';
import { artifactUri } from '../resources.ts';
import { absolute } from '../submissions.ts';
import { jobId, NO_SAVING, READS } from './arguments.ts';
import type { Shop } from '../making.ts';

/** Names and what is known of each, in one answer: as many as a model's context should hold. */
const MAX_LISTED = 100;
const MAX_LISTED_BYTES = 24_000;
const MAX_WARNINGS = 10;
const MAX_NAMES_TOLD = 10;
/** A sentence with a name of the job's choice in it. */
const MAX_PROBLEM = 200;
/** Larger ones are for a file, not for a model's context. */
const MAX_TEXT_BYTES = 32_000;
const MAX_IMAGE_BYTES = 500_000;

/** One of both. */
const whichJob = {
  job_id: jobId.optional(),
  label: z.string().optional().describe('instead of job_id, such as run=42'),
};

/** @returns id and list of the job that is meant @throws ClientError invalid_arguments, job_not_found */
async function jobMeant(
  backend: Backend,
  { job_id: id, label }: { readonly job_id?: string | undefined; readonly label?: string | undefined },
  signal: AbortSignal,
  match?: readonly string[],
): Promise<{ readonly id: string; readonly list: ArtifactList }> {
  if ((id === undefined) === (label === undefined))
    throw new ClientError('invalid_arguments', 'Give either job_id or label.');
  if (id !== undefined) return { id, list: await backend.artifacts(id, signal, match) };
  const parts = /^([^=:]+)[=:](.*)$/s.exec(label ?? '');
  if (parts?.[1] === undefined || parts[2] === undefined)
    throw new ClientError('invalid_arguments', 'label: must be KEY=VALUE, such as run=42.');
  const found = await newestWithLabel(backend, [parts[1], parts[2]], signal, match);
  return { id: found.id, list: found.artifacts };
}

const listInput = z.strictObject({
  ...whichJob,
  match: z.array(z.string().min(1)).max(50).optional().describe('names or globs: build/**'),
  offset: z.int().min(0).optional().describe('`next_offset` of the answer before'),
});

const listSchema = z.object({
  job_id: z.string(),
  artifacts: z.array(
    z.object({
      name: z.string(),
      type: z.enum(['file', 'symlink', 'directory']),
      size_bytes: z.int(),
      sha256: z.string().optional(),
      mode: z.string().optional().describe('such as 0755'),
      mtime: z.string().optional(),
      link_target: z.string().optional(),
    }),
  ),
  total: z.int(),
  total_size_bytes: z.int(),
  next_offset: z.int().optional().describe('there are more'),
  complete: z.boolean().describe('false: the job left more than was kept, see warnings'),
  warnings: z.array(z.string()).optional(),
  expires_at: z.string().optional().describe('they are deleted then'),
  next: z.string(),
});

const downloadSchema = z.object({
  job_id: z.string(),
  artifact_name: z.string(),
  size_bytes: z.int(),
  sha256: z.string().optional(),
  saved_to: z.string().optional(),
  saved: z.int().optional(),
  not_saved: z.array(z.string()).optional(),
  warnings: z.array(z.string()).optional(),
  text: z.string().optional(),
  next: z.string(),
});

function downloadInput(local: boolean) {
  const disk = local
    ? {
        save_to: z
          .string()
          .min(1)
          .optional()
          .describe('absolute path of a file, within what the person opened; a directory ends with a slash'),
        overwrite: z.boolean().optional(),
      }
    : {};
  return z.strictObject({
    ...whichJob,
    artifact_name: z
      .string()
      .min(1)
      .max(4_096)
      .describe(local ? 'with save_to also a glob: build/**' : 'a name as get_job_artifacts gives it'),
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
        'Lists what a job left, or what of it matches, once it has ended, however it ended. Kept for an hour, or longer by `keep_hours`.',
      input: listInput,
      output: listSchema,
      annotations: { ...READS, title: 'Artifacts of a job' },
      call: async ({ match, offset, ...which }, context) =>
        inTime(context.signal, async (signal) => {
          const { id, list } = await jobMeant(backend, which, signal, match);
          return listed(id, list, offset ?? 0, match);
        }),
    }),
    tool({
      name: 'download_artifact',
      title: 'Fetch an artifact',
      description: local
        ? `Fetches one artifact: with save_to into a file of this machine; without it a small text (${MAX_TEXT_BYTES / 1_000} kB) or image comes back as the answer.`
        : `Fetches one artifact: a small text (${MAX_TEXT_BYTES / 1_000} kB) or image comes back as the answer. Over this connection nothing can be saved to a local file; larger ones are read over the HTTP API, as the answer says.`,
      input: local ? LOCAL_DOWNLOAD : REMOTE_DOWNLOAD,
      ...(local ? {} : { notHere: { save_to: NO_SAVING } }),
      output: downloadSchema,
      // With `overwrite` it replaces what is there: clients that ask before that have to know.
      annotations: { ...READS, title: 'Fetch an artifact', readOnlyHint: !local, destructiveHint: local },
      async call(args, context) {
        const { artifact_name: name } = args;
        const { save_to: saveTo, overwrite = false } = args as { save_to?: string; overwrite?: boolean };
        const { id, list } = await jobMeant(backend, args, context.signal);
        const chosen = chooseArtifacts(list, id, [name]);
        const named = chosen.artifacts.find((each) => each.name === name);
        if (files && saveTo !== undefined && (named === undefined || named.sha256 === null)) {
          const options = { force: overwrite, signal: context.signal, match: chosen.match };
          const wanted = { artifacts: chosen.artifacts, directories: list.directories };
          const target = await files.fence.toWrite(absolute(saveTo), 'save_to', () => context.roots());
          const { saved, failed } = await files.saveTree(id, wanted, target, options);
          const [first] = failed;
          if (saved.length === 0 && first) throw first;
          return savedTree(id, name, chosen.artifacts, {
            target,
            saved,
            failed,
            warnings: list.warnings ?? [],
          });
        }
        if (named === undefined) {
          throw new ClientError(
            'artifact_not_found',
            `The job ${id} left no artifact ${JSON.stringify(name)}, but some that it matches.`,
          );
        }
        if (named.sha256 === null) throw new ClientError('artifact_not_a_file', `${name} has no bytes.`);
        const artifact = fileOf(list, named);
        if (files && saveTo !== undefined) {
          // As long as it takes: a gigabyte over a slow line is nothing that a model could fetch in pieces.
          const roots = (): Promise<readonly string[] | null> => context.roots();
          const allowed = await files.fence.toWrite(absolute(saveTo), 'save_to', roots);
          // Once more for what lies in it: a link there, or a name that begins with a dot in the home directory.
          const target = await files.fence.toWrite(await targetOf(allowed, artifact), 'save_to', roots);
          await files.save(id, artifact, target, { force: overwrite, signal: context.signal });
          const text = `${quoted(name)} (${showBytes(artifact.size_bytes)}) saved to ${quoted(target)}.`;
          return answer(id, artifact, text, { saved_to: target });
        }
        return inTime(context.signal, (signal) => inline(backend, id, artifact, local, signal));
      },
    }),
  ];
}

/** One page of a list. What is told in text and in structure has about the same size. */
function listed(
  id: string,
  list: ArtifactList,
  offset: number,
  match: readonly string[] | undefined,
): CallToolResult {
  const artifacts: z.output<typeof listSchema>['artifacts'] = [];
  let bytes = 0;
  for (const artifact of list.artifacts.slice(offset, offset + MAX_LISTED)) {
    const { name, type = 'file', size_bytes, sha256, mode, mtime, link_target } = artifact;
    const shown = { name, type, size_bytes, ...present({ sha256, mode, mtime, link_target }) };
    bytes += Buffer.byteLength(JSON.stringify(shown));
    if (bytes > MAX_LISTED_BYTES && artifacts.length > 0) break;
    artifacts.push(shown);
  }
  const end = offset + artifacts.length;
  const isMore = end < list.artifacts.length;
  const [first] = artifacts;
  const steps = [
    first
      ? fetching(id, artifacts)
      : 'There are none: what a job is to leave is written under /artifacts, or named by its argument `artifacts`.',
    isMore
      ? `${callOf('get_job_artifacts', { job_id: id, ...present({ match }), offset: end })} lists more.`
      : '',
  ];
  const next = steps.filter((step) => step !== '').join(' ');
  const warnings = warningsOf(list.warnings ?? []);
  const rows = artifacts.map((artifact) => {
    const target = artifact.link_target === undefined ? '' : ` -> ${quoted(artifact.link_target)}`;
    const what = artifact.type === 'file' ? showBytes(artifact.size_bytes) : artifact.type;
    return [`${quoted(artifact.name)}${target}`, what, artifact.mode ?? ''].filter(Boolean).join(' · ');
  });
  const count = isMore || offset > 0 ? [`${offset + 1} to ${end} of ${list.artifacts.length}`] : [];
  return {
    content: [
      {
        type: 'text',
        text: [`Next: ${next}`, ...count, ...warnings.map((line) => `Missing: ${line}`), ...rows].join('\n'),
      },
    ],
    structuredContent: {
      job_id: id,
      artifacts,
      total: list.artifacts.length,
      total_size_bytes: list.total_size_bytes,
      complete: list.complete ?? true,
      ...present({
        next_offset: isMore ? end : null,
        warnings: warnings.length === 0 ? null : warnings,
        expires_at: list.expires_at,
      }),
      next,
    },
  };
}

const warningsOf = (warnings: readonly string[]): string[] =>
  warnings.slice(0, MAX_WARNINGS).map((warning) => clip(printable(warning), 500));

function savedTree(
  id: string,
  name: string,
  artifacts: readonly ArtifactAnswer[],
  result: {
    readonly target: string;
    readonly saved: readonly string[];
    readonly failed: readonly ClientError[];
    readonly warnings: readonly string[];
  },
): CallToolResult {
  const { target, saved, failed } = result;
  const warnings = warningsOf(result.warnings);
  const notSaved = failed
    .slice(0, MAX_NAMES_TOLD)
    .map(({ message }) => clip(printable(message), MAX_PROBLEM));
  if (failed.length > notSaved.length) notSaved.push(`and ${failed.length - notSaved.length} more`);
  const next =
    failed.length === 0
      ? 'Nothing is left to do.'
      : 'Call again with overwrite true to replace files that are there, or with another save_to.';
  const text = [
    `${saved.length} of ${artifacts.length} artifacts saved in ${quoted(target)}.`,
    ...notSaved.map((line) => `Not saved: ${line}`),
    ...warnings.map((line) => `Missing: ${line}`),
    ...(failed.length === 0 ? [] : [`Next: ${next}`]),
  ];
  return {
    content: [{ type: 'text', text: text.join('\n') }],
    structuredContent: {
      job_id: id,
      artifact_name: name,
      size_bytes: bytesOf(artifacts),
      saved_to: target,
      saved: saved.length,
      ...present({
        not_saved: notSaved.length === 0 ? null : notSaved,
        warnings: warnings.length === 0 ? null : warnings,
      }),
      next,
    },
  };
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
  const isPlain = isPlainName(name);
  const elsewhere = local
    ? `Call ${isPlain ? callOf('download_artifact', { job_id: id, artifact_name: name, save_to: `…/${basename(name)}` }) : 'download_artifact again'} with a path of your choice as save_to.`
    : `GET /jobs/${id}/artifacts/${isPlain ? name.split('/').map(encodeURIComponent).join('/') : 'NAME'} of the HTTP API, with the same token, gives the bytes.`;
  if (size > limit)
    return answer(id, artifact, `${quoted(name)} is ${showBytes(size)}: too large to show.`, {
      next: elsewhere,
    });
  const content = await readArtifact(backend, id, artifact, signal);
  if (content.kind === 'text') return shownText(id, artifact, printableText(content.text), content.text);
  if (content.kind === 'binary') {
    return answer(id, artifact, `${quoted(name)} is ${showBytes(size)} and not text.`, {
      next: elsewhere,
    });
  }
  // A client that takes only what is structured gets no picture, but the way to it.
  const result = answer(id, artifact, `${quoted(name)}, ${showBytes(size)}`, {
    next: `The picture is part of this answer. Where it is not shown: ${elsewhere}`,
  });
  return {
    ...result,
    content: [...result.content, { type: 'image', data: content.base64, mimeType: content.mimeType }],
  };
}

/** What a text artifact holds, as the job's words. */
function shownText(id: string, artifact: ArtifactAnswer, text: string, exact: string): CallToolResult {
  const changed = text === exact ? '' : ' Control characters were taken out of what is shown.';
  const said = `${quoted(artifact.name)}, ${showBytes(artifact.size_bytes)}.${changed}`;
  const { content, structuredContent } = answer(id, artifact, said, { text });
  return { content: [...content, fenced(`artifact of ${id}`, text)], structuredContent };
}

function answer(
  id: string,
  { name, size_bytes, sha256 }: ArtifactAnswer,
  text: string,
  more: { saved_to?: string; text?: string; next?: string },
): CallToolResult {
  const next = more.next ?? 'Nothing is left to do.';
  const link = { type: 'resource_link' as const, uri: artifactUri(id, name), name: quoted(name) };
  return {
    content: [
      { type: 'text', text: more.next === undefined ? text : `${text}\nNext: ${next}` },
      ...(more.next === undefined ? [] : [link]),
    ],
    structuredContent: {
      job_id: id,
      artifact_name: name,
      size_bytes,
      ...present({ sha256 }),
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
    if (!(await stat(path)).isDirectory()) return path;
    if (!isGitName(last)) return join(path, last);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return path;
    throw new ClientError('download_failed', `${path} can't be written (${code ?? 'unknown'}).`, {
      cause: error,
    });
  }
  throw repositoryInTheWay(name, path);
}
