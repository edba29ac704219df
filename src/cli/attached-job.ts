/** A job that a command stays with to its end: its log is shown, what it leaves is fetched, Ctrl-C cancels it. */
import type { ArtifactAnswer, ArtifactList, CreatedJob, JobAnswer } from '../client/answers.ts';
import type { FlashpodsClient } from '../client/client.ts';
import { ClientError, hasCode } from '../client/client-error.ts';
import { bytesOf } from '../client/choose-artifacts.ts';
import { followJob } from '../client/follow.ts';
import { missingProgram, missingProgramAdvice } from '../images/missing-program.ts';
import { type MissingPart, missingPart, missingPartAdvice } from '../packages/missing.ts';
import type { CliContext } from './context.ts';
import { ExitCode, exitCodeOfJob } from './exit-code.ts';
import { describeEnd } from './present-job.ts';
import { LogPrinter } from './print-log.ts';
import { Progress } from './progress.ts';
import { count, showBytes } from './quantity.ts';
import { reportError } from './report.ts';
import { sanitize } from './terminal.ts';

export interface AttachOptions {
  readonly artifacts?: string;
  readonly force?: boolean;
  readonly timestamps?: boolean;
  /** A terminal, too, gets all that the job prints as it is. */
  readonly raw?: boolean;
}

/** Shows the log of a job while it runs, fetches what it leaves, and answers with its exit code. */
export async function attach(
  created: CreatedJob,
  options: AttachOptions,
  context: CliContext,
  interruption: Interruption,
): Promise<number> {
  const client = await context.client();
  interruption.holds(created.job_id);
  if (context.json) await context.out.json({ event: 'created', ...created });
  let lacks: string | null = null;
  let lacksPart: MissingPart | null = null;
  const onText = (text: string): void => {
    lacks = missingProgram(text) ?? lacks;
    lacksPart ??= missingPart(text);
  };
  const job = await follow(created.job_id, options, context, client, interruption.leaving, onText);
  interruption.ended();
  const code = await conclude(job, options, context, client, interruption.leaving);
  if (lacks !== null && code !== 0) await sayWhoHas(lacks, job.image, context, client, interruption.leaving);
  else if (lacksPart !== null && code !== 0) {
    const advice = missingPartAdvice(lacksPart, job.packages ?? []);
    if (advice !== null) context.notice(sanitize(advice));
  }
  return code;
}

/** One line on a program that the image lacks; nothing when nobody can say. */
async function sayWhoHas(
  program: string,
  image: string | undefined,
  context: CliContext,
  client: FlashpodsClient,
  signal: AbortSignal,
): Promise<void> {
  try {
    const advice = missingProgramAdvice(program, image, await client.images(program, signal));
    if (advice !== null) context.notice(sanitize(advice));
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
  }
}

/** What Ctrl-C does: once cancels (the upload, or the job, whose end is then awaited), twice leaves. */
export class Interruption {
  readonly #context: CliContext;
  readonly #client: FlashpodsClient;
  readonly #preparing = new AbortController();
  readonly #leaving = new AbortController();
  readonly #stop: () => void;
  #jobId: string | undefined;
  #ended = false;

  constructor(context: CliContext, client: FlashpodsClient) {
    this.#context = context;
    this.#client = client;
    this.#stop = context.onInterrupt((nth) => this.#heard(nth));
  }

  /** Aborted by the first Ctrl-C, as long as there is no job. */
  get preparing(): AbortSignal {
    return this.#preparing.signal;
  }

  /** Aborted by the second. */
  get leaving(): AbortSignal {
    return this.#leaving.signal;
  }

  /** From now on the first Ctrl-C cancels this job; one that came while it was created does so now. */
  holds(jobId: string): void {
    this.#jobId = jobId;
    if (this.#preparing.signal.aborted) this.#cancel(jobId);
  }

  /**
   * For a job that nobody stays with: one that was created although Ctrl-C came meanwhile is cancelled.
   * @throws ClientError interrupted, when it was
   */
  async throwIfStopped(jobId: string): Promise<void> {
    const { signal } = this.#preparing;
    if (!signal.aborted) return;
    this.#jobId = jobId;
    this.#context.notice(`cancelling ${jobId}; press Ctrl-C again to stop waiting`);
    await this.#client.cancelJob(jobId, this.#leaving.signal).catch((error: unknown) => {
      if (!hasCode(error, 'job_already_terminal')) throw error;
    });
    throw new ClientError('interrupted', `Interrupted while ${jobId} was created; it is cancelled.`);
  }

  /** The job has ended: nothing is left to cancel, and the first Ctrl-C leaves. */
  ended(): void {
    this.#ended = true;
  }

  stop(): void {
    this.#stop();
  }

  #heard(nth: number): void {
    if (this.#ended) {
      this.#leaving.abort(new ClientError('interrupted', 'Interrupted after the job had ended.'));
    } else if (nth > 1) {
      const what =
        this.#jobId === undefined
          ? 'Interrupted.'
          : `${this.#jobId} is being cancelled; nobody waits for it.`;
      this.#leaving.abort(new ClientError('interrupted', what));
    } else if (this.#jobId !== undefined) {
      this.#cancel(this.#jobId);
    } else {
      this.#context.notice('stopping; press Ctrl-C again to exit at once');
    }
    this.#preparing.abort(new ClientError('interrupted', 'Interrupted before the job was created.'));
  }

  #cancel(jobId: string): void {
    this.#context.notice(`cancelling ${jobId}; press Ctrl-C again to stop waiting`);
    this.#client.cancelJob(jobId, this.#leaving.signal).catch(async (error: unknown) => {
      if (hasCode(error, 'job_already_terminal', 'interrupted')) return;
      await reportError(error, this.#context.err, this.#context.json);
    });
  }
}

async function follow(
  id: string,
  options: AttachOptions,
  context: CliContext,
  client: FlashpodsClient,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<JobAnswer> {
  const progress = new Progress(id, context);
  const printer = new LogPrinter(context, options);
  let status = '';

  function onJob(job: JobAnswer): void {
    if (context.json && job.status !== status) void context.out.json({ event: 'state', job });
    status = job.status;
    progress.show(job);
  }

  try {
    return await followJob(client, id, {
      from: { offset: 0 },
      signal,
      onJob,
      onLine: async (logLine) => {
        onText(logLine.text);
        progress.clear(logLine.stream === 'system');
        await printer.print(logLine);
        progress.printed(printer.isMidLine);
      },
    });
  } finally {
    progress.stop();
  }
}

async function conclude(
  job: JobAnswer,
  options: AttachOptions,
  context: CliContext,
  client: FlashpodsClient,
  signal: AbortSignal,
): Promise<number> {
  const code = exitCodeOfJob(job);
  const fetched: string[] = [];
  let failures = 0;
  // Told, and counted: the job has ended, and what it ended with is not lost for it.
  const told = async (error: unknown): Promise<void> => {
    signal.throwIfAborted();
    if (!(error instanceof ClientError)) throw error;
    failures += 1;
    await reportError(error, context.err, context.json);
  };
  const list = await listArtifacts(client, job.id, options, signal).catch(async (error: unknown) => {
    await told(error);
    return null;
  });
  const artifacts = list?.artifacts ?? [];
  if (options.artifacts !== undefined && list !== null) {
    const fetching = { force: options.force === true, replacesOwn: true, signal };
    try {
      // Loaded here: most jobs leave nothing that is fetched.
      const { fetchArtifacts } = await import('../client/fetch-artifacts.ts');
      for await (const each of fetchArtifacts(client, job.id, list, options.artifacts, fetching)) {
        if ('error' in each) await told(each.error);
        else fetched.push(each.path);
      }
    } catch (error) {
      await told(error);
    }
  }
  for (const warning of [...(job.warnings ?? []), ...(job.artifact_warnings ?? [])])
    context.notice(sanitize(warning));
  // The first of them stands in the last line.
  if (job.exit_code === 0)
    for (const line of (job.error_lines ?? []).slice(1)) context.notice(`the log says: ${sanitize(line)}`);
  // The job's own code says more than that a file could not be fetched.
  const exitCode = code === 0 && failures > 0 ? ExitCode.ownFailure : code;
  if (context.json) {
    await context.out.json({ event: 'result', job, artifacts, fetched, exit_code: exitCode });
  } else {
    context.notice(
      `${job.id} ${describeEnd(job)} · ${describeArtifacts(artifacts, fetched, options.artifacts)}`,
    );
  }
  return exitCode;
}

/** None for a job that never ran, or whose artifacts are past their retention; or when nobody wants them. */
async function listArtifacts(
  client: FlashpodsClient,
  id: string,
  options: AttachOptions,
  signal: AbortSignal,
): Promise<ArtifactList | null> {
  try {
    return await client.artifacts(id, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (hasCode(error, 'artifacts_not_available', 'artifacts_deleted')) return null;
    // They would only be counted for the last line: no reason to lose the job's exit code.
    if (options.artifacts === undefined && error instanceof ClientError) return null;
    throw error;
  }
}

function describeArtifacts(
  artifacts: readonly ArtifactAnswer[],
  fetched: readonly string[],
  directory?: string,
): string {
  if (artifacts.length === 0) return 'no artifacts';
  const size = showBytes(bytesOf(artifacts));
  const all = `${count(artifacts.length, 'artifact')}, ${size}`;
  if (directory === undefined) return all;
  return fetched.length === artifacts.length
    ? `${all}, in ${directory}`
    : `${fetched.length} of ${all}, in ${directory}`;
}
