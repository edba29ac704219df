import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ArtifactAnswer } from '../../client/answers.ts';
import { ClientError } from '../../client/client-error.ts';
import { downloadTo, segmentsOf } from '../../client/download.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { showBytes } from '../quantity.ts';
import { table } from '../table.ts';
import { sanitize } from '../terminal.ts';

export interface GetArtifactOptions {
  readonly output?: string;
  readonly force?: boolean;
}

/** Lists what a job left. */
export async function listArtifacts(id: string, context: CliContext): Promise<number> {
  const client = await context.client();
  const list = await client.artifacts(id, context.untilInterrupted());
  if (context.json) {
    await context.out.json(list);
    return ExitCode.fine;
  }
  const rows = list.artifacts.map(({ name, size_bytes, sha256 }) => [
    sanitize(name),
    showBytes(size_bytes),
    sanitize(sha256.slice(0, 12)),
  ]);
  const lines = table([{ title: 'NAME' }, { title: 'SIZE', right: true }, { title: 'SHA-256' }], rows);
  await context.out.write(`${lines.join('\n')}\n`);
  return ExitCode.fine;
}

/** Fetches one artifact: to its last name here, or to the file or into the directory that is named. */
export async function getArtifact(
  id: string,
  name: string,
  options: GetArtifactOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const own = segmentsOf(name).at(-1) ?? name;
  const artifact = find((await client.artifacts(id, signal)).artifacts, id, name);
  const target =
    options.output === undefined
      ? own
      : (await isDirectory(options.output))
        ? join(options.output, basename(own))
        : options.output;
  await downloadTo(client, id, artifact, target, { force: options.force === true, signal });
  await (context.json ? context.out.json({ ...artifact, path: target }) : context.out.line(target));
  return ExitCode.fine;
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
