import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ArtifactAnswer } from '../../client/answers.ts';
import { ClientError } from '../../client/client-error.ts';
import { downloadInto, downloadTo, makeOutputDirectory, segmentsOf } from '../../client/download.ts';
import type { CliContext } from '../context.ts';
import { ExitCode, exitCodeOfError } from '../exit-code.ts';
import { showBytes } from '../quantity.ts';
import { reportError } from '../report.ts';
import { table } from '../table.ts';
import { sanitize } from '../terminal.ts';

export interface GetArtifactsOptions {
  readonly output?: string;
  readonly force?: boolean;
}

/** Lists what a job left. */
export async function listArtifacts(id: string, context: CliContext): Promise<number> {
  const client = await context.client();
  const list = await client.artifacts(id, context.untilInterrupted());
  const rows = list.artifacts.map(({ name, size_bytes, sha256 }) => [
    sanitize(name),
    showBytes(size_bytes),
    sanitize(sha256.slice(0, 12)),
  ]);
  const columns = [{ title: 'NAME' }, { title: 'SIZE', right: true }, { title: 'SHA-256' }];
  return context.show(list, () => table(columns, rows).join('\n'));
}

/**
 * Fetches artifacts. One that is named goes to its last name here, or to the file or into the directory that is named;
 * several, or all, keep their directories. One that can't be fetched keeps none of the others.
 */
export async function getArtifacts(
  id: string,
  names: readonly string[],
  options: GetArtifactsOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const { artifacts } = await client.artifacts(id, signal);
  const wanted = names.length === 0 ? artifacts : names.map((name) => find(artifacts, id, name));
  const fetching = { force: options.force === true, signal };
  let exitCode: number = ExitCode.fine;
  for (const artifact of wanted) {
    try {
      let path: string;
      if (names.length === 1) {
        path = await targetOf(artifact, options.output);
        await downloadTo(client, id, artifact, path, fetching);
      } else {
        path = await downloadInto(client, id, artifact, options.output ?? '.', fetching);
      }
      await (context.json ? context.out.json({ ...artifact, path }) : context.out.line(path));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ClientError)) throw error;
      await reportError(error, context.err, context.json);
      exitCode ||= exitCodeOfError(error);
    }
  }
  if (wanted.length === 0) context.notice(`${sanitize(id)} left no artifacts`);
  return exitCode;
}

async function targetOf({ name }: ArtifactAnswer, output: string | undefined): Promise<string> {
  const own = segmentsOf(name).at(-1) ?? name;
  if (output === undefined) return own;
  if (output.endsWith('/')) await makeOutputDirectory(output);
  return (await isDirectory(output)) ? join(output, basename(own)) : output;
}

function find(artifacts: readonly ArtifactAnswer[], id: string, name: string): ArtifactAnswer {
  const found = artifacts.find((artifact) => artifact.name === name);
  if (found) return found;
  throw new ClientError('artifact_not_found', `${id} left no artifact ${JSON.stringify(name)}.`, {
    status: 404,
  });
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
