/** libpod's answers about containers, as our {@link ContainerState}. */
import type { ContainerState } from '../../runtime.ts';
import { LABELS } from './labels.ts';
import { isRecord } from '../../../is-record.ts';

/** Go's zero time lies before this, and stands for "never". */
const EARLIEST_MS = Date.UTC(2000, 0);

const timeOf = (milliseconds: number): number | null =>
  Number.isFinite(milliseconds) && milliseconds > EARLIEST_MS ? milliseconds : null;

interface Parts {
  readonly name: unknown;
  readonly id: unknown;
  readonly labels: unknown;
  readonly status: unknown;
  readonly exitCode: unknown;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
}

function stateOf(parts: Parts): ContainerState | null {
  const labels = isRecord(parts.labels) ? parts.labels : {};
  const { [LABELS.jobId]: jobId, [LABELS.sandbox]: sandbox } = labels;
  const { name, id, status } = parts;
  if (typeof jobId !== 'string' || typeof name !== 'string' || typeof id !== 'string') return null;
  const phase = phaseOf(String(status));
  const startedAt = phase === 'created' ? null : timeOf(parts.startedAtMs);
  const finishedAt = phase === 'exited' ? timeOf(parts.finishedAtMs) : null;
  return {
    name,
    id,
    sandboxId: typeof sandbox === 'string' ? sandbox : name,
    jobId,
    epoch: Number(labels[LABELS.epoch]),
    phase,
    exitCode: phase === 'exited' && typeof parts.exitCode === 'number' ? parts.exitCode : null,
    startedAt,
    // The end is the time of a file, by a clock of some milliseconds; a job of one millisecond ends before it starts.
    finishedAt: finishedAt === null ? null : Math.max(finishedAt, startedAt ?? 0),
  };
}

/**
 * @param body of `GET /containers/{name}/json` @param deployment whose jobs are meant
 * @returns null for a container that is not a job, or another installation's: a copy has jobs with the same ids
 */
export function inspectedState(body: unknown, deployment: string): ContainerState | null {
  if (!isRecord(body)) return null;
  const state = isRecord(body['State']) ? body['State'] : {};
  const config = isRecord(body['Config']) ? body['Config'] : {};
  const labels = isRecord(config['Labels']) ? config['Labels'] : {};
  if (labels[LABELS.deployment] !== deployment) return null;
  return stateOf({
    name: body['Name'],
    id: body['Id'],
    labels,
    status: state['Status'],
    exitCode: state['ExitCode'],
    startedAtMs: Date.parse(String(state['StartedAt'])),
    finishedAtMs: Date.parse(String(state['FinishedAt'])),
  });
}

/** @param body of `GET /containers/json`, whose times are whole seconds */
export function listedStates(body: unknown): ContainerState[] {
  if (!Array.isArray(body)) return [];
  return body.filter(isRecord).flatMap((entry) => {
    const names: unknown = entry['Names'];
    const state = stateOf({
      name: Array.isArray(names) ? names[0] : undefined,
      id: entry['Id'],
      labels: entry['Labels'],
      status: entry['State'],
      exitCode: entry['ExitCode'],
      startedAtMs: Number(entry['StartedAt']) * 1000,
      finishedAtMs: Number(entry['ExitedAt']) * 1000,
    });
    return state ? [state] : [];
  });
}

/** Podman's words for a container's state. */
export function phaseOf(status: string): ContainerState['phase'] {
  switch (status) {
    case 'created':
    case 'configured':
    case 'initialized':
      return 'created';
    case 'exited':
    case 'stopped':
    case 'removing':
      return 'exited';
    default: // running, paused, stopping, and what later versions may add: something may be alive
      return 'running';
  }
}
