/** What is known across processes of the `podman system service` that runs for a run directory. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { isRecord } from './http.ts';
import { readJson, writeJson } from '../sandbox/sandbox.ts';

export interface ServiceRecord {
  /** Whoever started it, and may start it again. A newer owner takes over, and the older then lets go. */
  readonly owner: string;
  readonly pid: number;
  /** With the pid, the identity of a process. */
  readonly startTicks: string;
  /** Cgroup v2 path that systemd gave to an unprivileged service to divide, or null. */
  readonly delegatedCgroup: string | null;
}

const fileIn = (runDir: string): string => join(runDir, 'podman-service.json');

export function readServiceRecord(runDir: string): ServiceRecord | null {
  const value = readJson(fileIn(runDir));
  return isRecord(value) ? (value as unknown as ServiceRecord) : null;
}

export const writeServiceRecord = (runDir: string, record: ServiceRecord): void =>
  writeJson(fileIn(runDir), record);

export const removeServiceRecord = (runDir: string): void => rmSync(fileIn(runDir), { force: true });
