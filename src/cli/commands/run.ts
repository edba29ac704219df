import type { JobRequest } from '../../client/answers.ts';
import { ClientError } from '../../client/client-error.ts';
import { makeOutputDirectory } from '../../client/download.ts';
import { attach, type AttachOptions, Interruption } from '../attached-job.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { sendFiles } from '../send-files.ts';
import { shellCommand } from '../shell-quote.ts';

export interface RunOptions extends AttachOptions {
  readonly image?: string;
  readonly cpus?: number;
  readonly memory?: number;
  readonly timeout?: number;
  readonly files?: string;
  readonly exclude?: readonly string[];
  readonly transport?: 'auto' | 'rsync' | 'http';
  readonly env?: Readonly<Record<string, string>>;
  readonly network?: 'internet' | 'none';
  readonly priority?: number;
  readonly label?: Readonly<Record<string, string>>;
  readonly name?: string;
  readonly whenBusy?: 'queue' | 'reject';
  readonly maxQueue?: number;
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
  const request = toRequest(args, options);
  const interruption = new Interruption(context, client);
  try {
    // Before there is a job: what would keep its artifacts from being stored is known now.
    if (options.artifacts !== undefined) await makeOutputDirectory(options.artifacts);
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
    if (options.detach) {
      await interruption.throwIfStopped(created.job_id);
      await (context.json ? context.out.json(created) : context.out.line(created.job_id));
      return ExitCode.fine;
    }
    return await attach(created, options, context, interruption);
  } finally {
    interruption.stop();
  }
}

/** @throws ClientError invalid_arguments for what only somebody who stays with the job can be given */
export function refuseAttached(options: AttachOptions, why: string): void {
  const given = [
    options.artifacts === undefined ? null : '--artifacts',
    options.force ? '--force' : null,
    options.timestamps ? '--timestamps' : null,
  ].filter((option) => option !== null);
  if (given.length === 0) return;
  const advice = 'Leave it out; `flashpods artifacts get JOB` and `flashpods logs -t JOB` do it later.';
  throw new ClientError('invalid_arguments', `${why}: ${given.join(' and ')} would do nothing.`, { advice });
}

function toRequest(args: readonly string[], options: RunOptions): JobRequest {
  const labels = { ...options.label, ...(options.name === undefined ? {} : { name: options.name }) };
  return {
    type: 'worker',
    command: shellCommand(args),
    ...(options.image === undefined ? {} : { image: options.image }),
    ...(options.cpus === undefined ? {} : { cpus: options.cpus }),
    ...(options.memory === undefined ? {} : { memory_gb: options.memory }),
    ...(options.timeout === undefined ? {} : { timeout_minutes: options.timeout }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.network === undefined ? {} : { network: options.network }),
    ...(options.priority === undefined ? {} : { priority: options.priority }),
    ...(options.whenBusy === undefined ? {} : { when_busy: options.whenBusy }),
    ...(options.maxQueue === undefined ? {} : { max_queue_seconds: Math.ceil(options.maxQueue) }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
  };
}

async function upload(
  directory: string,
  options: RunOptions,
  context: CliContext,
  { preparing }: Interruption,
): Promise<string> {
  const client = await context.client();
  const { exclude = [], transport = 'auto' } = options;
  return sendFiles(client, directory, { exclude, transport }, context, preparing);
}
