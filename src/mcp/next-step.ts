/** What to do after a job was shown: what its failure is known to need, and the calls that come next. */
import type { ArtifactAnswer, JobAnswer } from '../client/answers.ts';
import { adviceOn, isErrorCode } from '../errors.ts';
import { failureHint, silenceHint } from '../jobs/failure-hints.ts';
import { isPlainName } from '../observability/unsafe-text.ts';
import { printable } from './printable.ts';

/** Of the log. */
export interface SaidLast {
  /** The last lines. */
  readonly said: readonly string[];
  /** When the last of them came. */
  readonly lastTime: string | null;
}

/** A call that can be copied: `wait_for_job {"job_id":"job_…"}`. */
export const callOf = (name: string, args: Readonly<Record<string, unknown>>): string =>
  `${name} ${JSON.stringify(args)}`;

/** The lines that look like the error, without their numbers. What a job printed is advised on as it is shown. */
export const errorsOf = (job: JobAnswer): readonly string[] =>
  (job.error_lines ?? []).map((line) => printable(line.replace(/^\d+: /, '')));

/** What is known to do about the failure of a job. */
export function failedHint(job: JobAnswer, said: readonly string[]): string | null {
  if (job.status !== 'failed') return null;
  return failureHint(job, [...errorsOf(job), ...said]);
}

/** What is said of a job that runs, or ran too long, and printed nothing for long. */
export function silenceOf(job: JobAnswer, log: SaidLast | null): string | null {
  const began = job.started_at ?? null;
  if ((job.status !== 'running' && job.status !== 'timed_out') || began === null) return null;
  const until = Date.parse(job.completed_at ?? '') || Date.now();
  const spokeAt = Date.parse(log?.lastTime ?? began);
  const ranSeconds = job.duration_seconds ?? job.elapsed_seconds ?? (until - Date.parse(began)) / 1_000;
  // Of two machines' clocks: no silence is longer than the run.
  const silent = Math.min(ranSeconds, (until - spokeAt) / 1_000);
  const cpuSeconds = job.usage?.cpu_seconds ?? null;
  return silenceHint(silent, { ranSeconds, cpuSeconds, last: log?.said.at(-1) ?? '' });
}

export interface Known {
  /** The log holds more than is shown. */
  readonly more?: boolean;
  readonly artifacts?: readonly ArtifactAnswer[];
  readonly hint?: string | null;
  readonly silence?: string | null;
}

/** The call that comes next, and what to do before; null where nobody needs to be told. */
export function nextFor(
  job: JobAnswer,
  { more = false, artifacts = [], hint = null, silence = null }: Known,
): string | null {
  const id = job.id;
  switch (job.status) {
    case 'pending':
    case 'queued':
      return `It waits for its turn and starts by itself. ${callOf('wait_for_job', { job_id: id })} waits for its end; ${callOf('kill_job', { job_id: id })} ends it.`;
    case 'starting':
    case 'running':
      return `It runs. ${callOf('wait_for_job', { job_id: id })} waits for its end; ${callOf('kill_job', { job_id: id })} ends it.`;
    case 'completed':
      return sentences([
        (job.error_lines ?? []).length > 0
          ? 'Look at what the log says before you rely on the exit code.'
          : null,
        artifacts[0] === undefined ? null : fetching(id, artifacts),
        more
          ? `${callOf('get_job_output', { job_id: id, tail: 200 })} shows more of the log; \`grep\` searches it.`
          : null,
      ]);
    case 'failed':
    case 'timed_out': {
      const advice =
        job.status === 'timed_out'
          ? (silence ?? 'Give it a higher timeout_minutes, or less to do.')
          : (hint ?? (isErrorCode(job.error) ? adviceOn(job.error, 'mcp') : null));
      return sentences([
        advice,
        more
          ? `${callOf('get_job_output', { job_id: id, ...aroundError(job) })} shows more of the log; \`grep\` searches it.`
          : null,
      ]);
    }
    case 'cancelled':
      return `It was ended on request. ${callOf('rerun_job', { job_id: id })} runs it again.`;
    case 'cleaning':
    case 'cleaned':
      return `Its log and artifacts are past their retention. ${callOf('rerun_job', { job_id: id })} runs it again.`;
  }
}

function sentences(parts: readonly (string | null)[]): string | null {
  const said = parts.filter((part) => part !== null);
  return said.length === 0 ? null : said.join(' ');
}

/** The call that fetches the first of them; one whose name is long, or could be a sentence, is fetched by way of the list. */
export function fetching(id: string, artifacts: readonly Pick<ArtifactAnswer, 'name'>[]): string {
  const plain = artifacts.find(({ name }) => isPlainName(name));
  return plain === undefined
    ? `${callOf('get_job_artifacts', { job_id: id })} lists the artifacts, which download_artifact fetches.`
    : `${callOf('download_artifact', { job_id: id, artifact_name: plain.name })} fetches an artifact.`;
}

/** The surroundings of the first line that looks like the error, or the end. */
function aroundError(job: JobAnswer): Readonly<Record<string, number>> {
  const line = Number(/^(\d+): /.exec(job.error_lines?.[0] ?? '')?.[1]);
  return Number.isSafeInteger(line)
    ? { from_line: Math.max(1, line - 20), head: 100 }
    : { tail: 400, max_bytes: 25_000 };
}
