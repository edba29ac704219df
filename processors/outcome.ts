/** How a job's end is told: state, error and message, from why it ended and what its container left. */
import { constants } from 'node:os';
import type { Verdict } from '../src/containers/runtime.ts';
import type { ErrorCode } from '../src/errors.ts';
import { endStateOf } from '../src/jobs/end-states.ts';
import type { Failure } from '../src/jobs/lifecycle.ts';
import type { EndingReason } from '../src/jobs/states.ts';

export interface Outcome {
  readonly to: 'completed' | 'failed' | 'timed_out' | 'cancelled';
  readonly error: string | null;
  readonly errorCode: ErrorCode | null;
  readonly errorMessage: string | null;
  readonly warnings: readonly string[];
}

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

const DISK_ERROR =
  'The disk of the host did not take all that the job wrote (it may be full), so nothing that the job left is kept.';

/** One sentence for an exit code other than 0. */
export function describeExit(code: number): string {
  if (code === 126) return 'Command is not executable (exit code 126)';
  if (code === 127) return 'Command not found (exit code 127)';
  const signal = code > 128 ? SIGNALS.get(code - 128) : undefined;
  return signal ? `Command was killed by ${signal} (exit code ${code})` : `Command exited with code ${code}`;
}

/**
 * @param failure error code and message that a stage of ours raised (start, collection); it outranks the exit code
 */
export function outcomeOf(
  reason: EndingReason,
  exitCode: number | null,
  verdict: Pick<Verdict, 'oomKilled' | 'diskFull' | 'diskError' | 'pidsExhausted'>,
  failure: Failure | null = null,
): Outcome {
  const broken = verdict.diskError === true ? [DISK_ERROR] : [];
  const also = [...broken, ...(failure ? [failure.message] : [])];
  const failed = (errorCode: ErrorCode, errorMessage: string | null, error: string = errorCode): Outcome => ({
    to: endStateOf(errorCode),
    error,
    errorCode,
    errorMessage,
    warnings: [],
  });
  const unfailed = { error: null, errorCode: null, errorMessage: null } as const;
  switch (reason) {
    case 'cancel':
      return { to: 'cancelled', ...unfailed, warnings: also };
    case 'timeout':
      return { ...failed('job_timed_out', null, 'Job exceeded timeout limit'), warnings: also };
    case 'lost':
    case 'start_failed':
      return failed(failure?.code ?? 'container_start_failed', failure?.message ?? null);
    case 'queue_timeout':
      return failed('queue_timeout', 'The job did not start within its max_queue_seconds.');
    case 'exit': {
      const code = exitCode === null ? 'the exit code is not known' : `its exit code was ${exitCode}`;
      if (broken.length > 0) return failed('disk_error', `${DISK_ERROR} The command itself ended: ${code}.`);
      if (failure) return failed(failure.code, failure.message);
      if (exitCode === 0) {
        const warnings = verdict.oomKilled
          ? [
              'A process of the job was killed for using too much memory, though the command itself ended with 0.',
            ]
          : [];
        return { to: 'completed', ...unfailed, warnings };
      }
      const sentence = exitCode === null ? 'The exit code is not known' : describeExit(exitCode);
      if (verdict.oomKilled)
        return failed('oom_killed', `The job used more memory than it asked for. ${sentence}.`);
      if (verdict.diskFull)
        return failed('disk_limit', `The job filled the disk space that it may use. ${sentence}.`);
      if (verdict.pidsExhausted)
        return failed('pids_limit', `The job reached its limit of processes. ${sentence}.`);
      return failed('command_failed', null, sentence);
    }
  }
}
