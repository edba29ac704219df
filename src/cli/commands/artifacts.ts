import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ArtifactAnswer, ArtifactList } from '../../client/answers.ts';
import { chooseArtifacts, fileOf } from '../../client/choose-artifacts.ts';
import type { FlashpodsClient } from '../../client/client.ts';
import { ClientError } from '../../client/client-error.ts';
import {
  isGitName,
  makeOutputDirectory,
  repositoryInTheWay,
  segmentsOf,
} from '../../client/artifact-places.ts';
import { findJob } from '../../client/find-job.ts';
import { downloadTo } from '../../client/download.ts';
import { FetchedBefore } from '../../client/fetched-before.ts';
import { fetchArtifacts } from '../../client/fetch-artifacts.ts';
import { newestWithLabel } from '../../client/labelled-job.ts';
import type { CliContext } from '../context.ts';
import { ExitCode, exitCodeOfError } from '../exit-code.ts';
import { showBytes } from '../quantity.ts';
import { reportError } from '../report.ts';
import { table } from '../table.ts';
import { sanitize } from '../terminal.ts';

/** Of one job, named by its id or by a label that it has. */
export interface ListArtifactsOptions {
  readonly label?: readonly [key: string, value: string];
}

export interface GetArtifactsOptions extends ListArtifactsOptions {
  readonly output?: string;
  readonly force?: boolean;
}

interface Wanted {
  readonly id: string;
  readonly patterns: readonly string[];
  readonly list: ArtifactList;
}

/** @param words the job unless a label is given, and names */
async function wantedOf(
  words: readonly string[],
  { label }: ListArtifactsOptions,
  client: FlashpodsClient,
  context: CliContext,
): Promise<Wanted> {
  const signal = context.untilInterrupted();
  if (label) {
    const { id, artifacts: list, note } = await newestWithLabel(client, label, signal);
    context.notice(sanitize(note));
    return { id, patterns: words, list };
  }
  const [job, ...patterns] = words;
  if (job === undefined) throw new ClientError('invalid_arguments', 'Name the job, or give one --label.');
  const id = await findJob(client, job, signal);
  return { id, patterns, list: await client.artifacts(id, signal) };
}

/** Lists what a job left, or what of it matches. */
export async function listArtifacts(
  words: readonly string[],
  options: ListArtifactsOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  const { id, patterns, list } = await wantedOf(words, options, client, context);
  const shown = patterns.length === 0 ? list : { ...list, ...chooseArtifacts(list, id, patterns) };
  // An older server knows of neither mode nor time.
  const isDescribed = shown.artifacts.some(({ mode }) => typeof mode === 'string');
  const rows = shown.artifacts.map((artifact) => [
    sanitize(shownName(artifact)),
    showBytes(artifact.type === 'symlink' ? 0 : artifact.size_bytes),
    sanitize(artifact.sha256?.slice(0, 12) ?? '-'),
    ...(isDescribed
      ? [permissionsOf(artifact), sanitize(artifact.mtime?.replace(/\.\d+Z$/, 'Z') ?? '-')]
      : []),
  ]);
  const columns = [
    { title: 'NAME' },
    { title: 'SIZE', right: true },
    { title: 'SHA-256' },
    ...(isDescribed ? [{ title: 'MODE' }, { title: 'CHANGED' }] : []),
  ];
  const code = await context.show(shown, () => table(columns, rows).join('\n'));
  if (!context.json) noteIncomplete(list, context);
  return code;
}

/**
 * Fetches artifacts. One file that is named goes to its last name here, or to the file or into the directory that is
 * named; several, a directory, what a glob matches, or all keep their directories. One that can't be fetched keeps none
 * of the others. What the job left and the server lacks is told, and changes no exit code: the job's end said it, too.
 */
export async function getArtifacts(
  words: readonly string[],
  options: GetArtifactsOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const { id, patterns, list } = await wantedOf(words, options, client, context);
  const { artifacts, match } =
    patterns.length === 0 ? { artifacts: list.artifacts, match: [] } : chooseArtifacts(list, id, patterns);
  const fetching = { force: options.force === true, signal };
  const [only] = artifacts;
  let exitCode: number = ExitCode.fine;
  const show = (artifact: ArtifactAnswer, path: string): Promise<void> =>
    context.json
      ? context.out.json({ ...artifact, path })
      : context.out.line(context.out.isTTY ? sanitize(path) : path);
  const failed = async (error: unknown): Promise<void> => {
    signal.throwIfAborted();
    if (!(error instanceof ClientError)) throw error;
    await reportError(error, context.err, context.json);
    exitCode ||= exitCodeOfError(error);
  };
  if (patterns.length === 1 && only !== undefined && only.name === patterns[0] && only.sha256 !== null) {
    try {
      const path = await targetOf(only, options.output);
      const before = await FetchedBefore.of(client.connection.cacheDir, dirname(path));
      const force = fetching.force || (await before.owns(basename(path), path));
      await downloadTo(client, id, fileOf(list, only), path, { ...fetching, force });
      before.note({ name: basename(path) }, path);
      await before.save();
      await show(only, path);
    } catch (error) {
      await failed(error);
    }
  } else if (artifacts.length > 0) {
    const wanted = { artifacts, directories: list.directories };
    for await (const fetched of fetchArtifacts(client, id, wanted, options.output ?? '.', {
      ...fetching,
      match,
      replacesOwn: true,
    })) {
      if ('error' in fetched) await failed(fetched.error);
      else await show(fetched.artifact, fetched.path);
    }
  }
  if (artifacts.length === 0) context.notice(`${sanitize(id)} left no artifacts`);
  noteIncomplete(list, context);
  return exitCode;
}

function noteIncomplete({ warnings = [] }: ArtifactList, context: CliContext): void {
  for (const warning of warnings) context.notice(sanitize(warning));
}

async function targetOf({ name }: ArtifactAnswer, output: string | undefined): Promise<string> {
  const own = segmentsOf(name).at(-1) ?? name;
  if (output?.endsWith('/')) await makeOutputDirectory(output);
  if (output !== undefined && !(await isDirectory(output))) return output;
  // A file with this name makes a repository of the directory that it lies in.
  if (isGitName(own)) throw repositoryInTheWay(name, output ?? '.');
  return output === undefined ? own : join(output, basename(own));
}

const shownName = ({ name, type, link_target: target }: ArtifactAnswer): string => {
  if (type === 'directory') return `${name}/`;
  return type === 'symlink' ? `${name} -> ${target ?? ''}` : name;
};

/** As `ls` shows them. */
function permissionsOf({ type = 'file', mode }: ArtifactAnswer): string {
  if (typeof mode !== 'string') return '-';
  const bits = Number.parseInt(mode, 8);
  const letters = [...'rwxrwxrwx'].map((letter, index) => ((bits >> (8 - index)) & 1 ? letter : '-'));
  return { file: '-', symlink: 'l', directory: 'd' }[type] + letters.join('');
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
