/** What to do with a dispatch that this host holds, judged by what is really there (the table in docs/recovery.md). */
import type { ContainerState } from '../src/containers/runtime.ts';
import type { ErrorCode } from '../src/errors.ts';
import type { DispatchRecord } from './dispatch-records.ts';

export type Action =
  /** No container of it was made: provision and launch. */
  | { readonly do: 'launch' }
  /** Bound to its sandbox and never started: the second half of its launch. */
  | { readonly do: 'start' }
  /** Its process runs: take over log, timeout and cancellation. */
  | { readonly do: 'follow' }
  /** Its process has ended: take exit code, log and artifacts. */
  | { readonly do: 'settle' }
  /** The container is gone and its end is known: collect and finish. */
  | { readonly do: 'finish' }
  | { readonly do: 'lose'; readonly error: ErrorCode };

export interface Situation {
  readonly status: 'starting' | 'running';
  readonly container: Pick<ContainerState, 'phase' | 'finishedAt'> | null;
  readonly record: DispatchRecord | null;
  readonly bootId: string;
}

const lost: Action = { do: 'lose', error: 'container_lost_on_recovery' };

export function decide({ status, container, record, bootId }: Situation): Action {
  if (record?.phase === 'ended') return { do: 'finish' };
  if (container === null) {
    // What was being installed was no run of the job: it begins anew.
    if (record?.phase === 'installing') return { do: 'launch' };
    if (status === 'running') return lost;
    return record === null ? { do: 'launch' } : { do: 'lose', error: 'container_not_found_on_recovery' };
  }
  const rebooted = record !== null && record.bootId !== bootId;
  switch (container.phase) {
    case 'created':
      // After packages were installed the row says `running` before the container is started.
      if (record?.startedAt !== undefined && record.phase !== 'started' && !rebooted) return { do: 'start' };
      // After a reboot Podman may present a container that ran as one that never did.
      return status === 'running' || record?.phase === 'started' ? lost : { do: 'start' };
    case 'running':
      return { do: 'follow' };
    case 'exited':
      // Killed together with the machine: Podman may show `Exited (0)` with no end time. That is no success.
      // guard: exit-before-reboot
      return container.finishedAt === null && (rebooted || record === null) ? lost : { do: 'settle' };
  }
}
