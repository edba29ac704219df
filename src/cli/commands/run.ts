import { ClientError } from '../../client/client-error.ts';
import type { WorkerRequest } from '../../jobs/description/types.ts';
import { attach, type AttachOptions, Interruption } from '../attached-job.ts';
import type { CliContext } from '../context.ts';
import { fieldsGiven } from '../job-options.ts';
import { shellCommand } from '../shell-quote.ts';
import { sanitize } from '../terminal.ts';

/** Beside the fields of a job, which `job-options.ts` reads. */
export interface RunOptions extends AttachOptions {
  readonly files?: string;
  readonly exclude?: readonly string[];
  readonly include?: readonly string[];
  readonly git?: boolean;
  readonly transport?: 'auto' | 'rsync' | 'http';
  readonly merge?: boolean;
  readonly name?: string;
  readonly detach?: boolean;
}

/** Submits a job, shows its log while it runs, fetches what it leaves, and answers with its exit code. */
export async function run(
  args: readonly string[],
  options: RunOptions,
  context: CliContext,
): Promise<number> {
  if (options.detach) refuseAttached(options, 'With --detach nobody stays with the job');
  const client = await context.client();
  const request = toRequest(args, options, context);
  const interruption = new Interruption(context, client);
  try {
    // Before there is a job: what would keep its artifacts from being stored is known now.
    if (options.artifacts !== undefined) await makeOutput(options.artifacts);
    // All that can be refused without the files is refused before they are sent.
    if (options.files !== undefined) await client.checkJob(request, interruption.preparing);
    const files =
      options.files === undefined
        ? {}
        : { files_id: await upload(options.files, options, context, interruption) };
    interruption.preparing.throwIfAborted();
    const created = await client.createJob(
      { ...request, ...files },
      interruption.leaving,
      interruption.preparing,
    );
    for (const note of created.notes ?? []) context.notice(sanitize(note));
    if (options.detach) {
      await interruption.throwIfStopped(created.job_id);
      return await context.show(created, () => created.job_id);
    }
    return await attach(created, options, context, interruption);
  } finally {
    interruption.stop();
  }
}

async function makeOutput(path: string): Promise<void> {
  const { makeOutputDirectory } = await import('../../client/artifact-places.ts');
  await makeOutputDirectory(path);
}

/** @throws ClientError invalid_arguments for what only somebody who stays with the job can be given */
export function refuseAttached(options: AttachOptions, why: string): void {
  const given = [
    options.artifacts === undefined ? null : '--artifacts',
    options.force ? '--force' : null,
    options.timestamps ? '--timestamps' : null,
    options.raw ? '--raw' : null,
  ].filter((option) => option !== null);
  if (given.length === 0) return;
  const advice = 'Leave it out; `flashpods artifacts get JOB` and `flashpods logs -t JOB` do it later.';
  throw new ClientError('invalid_arguments', `${why}: ${given.join(' and ')} would have no effect.`, {
    advice,
  });
}

function toRequest(args: readonly string[], options: RunOptions, context: CliContext): WorkerRequest {
  const { merge: _asked, ...given } = fieldsGiven(options);
  // On a terminal both are seen in one place; `run … > file` wants the one without the other.
  const merge = options.merge ?? (context.out.isTTY && context.err.isTTY && !context.json);
  const name = options.name === undefined ? {} : { labels: { ...given.labels, name: options.name } };
  return { ...given, ...name, ...(merge ? { merge } : {}), type: 'worker', command: shellCommand(args) };
}

async function upload(
  directory: string,
  options: RunOptions,
  context: CliContext,
  { preparing }: Interruption,
): Promise<string> {
  const client = await context.client();
  const { exclude = [], include = [], git = false, transport = 'auto' } = options;
  const what = { excludes: exclude, includes: include, git, transport };
  // Packing and rsync take longer to load than all else of a job without files.
  const { sendFiles } = await import('../send-files.ts');
  return sendFiles(client, directory, what, context, preparing);
}
