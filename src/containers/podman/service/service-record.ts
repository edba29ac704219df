/** What is known across processes of the `podman system service` that runs for a run directory. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { isPlaceOf } from '../../../files/place.ts';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import type { ProcessRecord } from '../../../lifecycle/process-identity.ts';
import { isRecord } from '../../../is-record.ts';

export interface ServiceRecord extends ProcessRecord {
  /** Who started it, and may start it again. A newer holder of the directory takes over, and the older lets go. */
  readonly holder: string;
  /** Cgroup v2 path that systemd gave to an unprivileged service to divide, or null. */
  readonly delegatedCgroup: string | null;
}

const fileIn = (runDir: string): string => join(runDir, 'podman-service.json');

/** @returns null also for the record of a directory that this one is a copy of */
export function readServiceRecord(runDir: string): ServiceRecord | null {
  const value = readJsonFile(fileIn(runDir));
  return isRecord(value) && isPlaceOf(value['place'], runDir) ? (value as unknown as ServiceRecord) : null;
}

export const writeServiceRecord = (runDir: string, record: ServiceRecord): void =>
  writeJsonFile(fileIn(runDir), record);

export const removeServiceRecord = (runDir: string): void => rmSync(fileIn(runDir), { force: true });
