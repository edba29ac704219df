/** What is written down of a sandbox, so that it is found and understood when the process that made it is dead. */
import { join } from 'node:path';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import { type Mount, STANDING_MOUNTS } from '../../mounts.ts';
import type { BoundDispatch, Limits } from '../../sandbox.ts';
import { isRecord } from '../../../is-record.ts';
import type { RootRecord } from '../rootfs/writable-root.ts';
import type { SandboxPaths } from './paths.ts';

export interface SandboxRecord {
  readonly id: string;
  readonly diskBytes: number;
  /** Path of its parent cgroup; null where Podman chooses one. */
  readonly cgroupParent: string | null;
  /** The standing mounts, and those of the launch but for files: these are on the disk. */
  readonly mounts: readonly Mount[];
  /** Null until a job is bound to it. */
  readonly bound: Binding | null;
  /** It was provisioned for a root file system of ours; sandboxes of earlier versions say nothing. */
  readonly isWritable?: boolean;
  /** That root, once a job is bound to it. */
  readonly root?: RootRecord;
}

export interface Binding extends BoundDispatch, Limits {
  /** Cores on which it may run; records of earlier versions, and hosts that can't, say none. */
  readonly cores?: readonly number[];
  readonly container: string;
  /** See `LaunchSpec.isBuild`. */
  readonly isBuild?: boolean;
  /** As `Sandbox.ranBy`; earlier versions did not write it down. */
  readonly ranBy?: string | null;
}

export const writeRecord = (paths: SandboxPaths, record: SandboxRecord): void =>
  writeJsonFile(paths.record, record);

/** @returns null when there is none: what is left is to be removed */
export function readRecord(id: string, paths: SandboxPaths): SandboxRecord | null {
  const value = readJsonFile(paths.record);
  return isRecord(value) ? (value as unknown as SandboxRecord) : readRequest(id, paths);
}

/** Versions before sandboxes had an id wrote down all but the dispatch, which they had in the sandbox's name. */
function readRequest(id: string, paths: SandboxPaths): SandboxRecord | null {
  const request = readJsonFile(paths.request);
  const [, jobId, epoch] = /^flashpods-(job_[a-z0-9]{12})-(\d{1,9})$/.exec(id) ?? [];
  if (!isRecord(request) || jobId === undefined) return null;
  const { diskBytes, cpus, memoryBytes, pidsLimit, cgroupParent } = request as Record<string, number>;
  const work = readJsonFile(join(paths.directory, 'work.json'));
  const source = isRecord(work) ? String(work['snapshot']) : null;
  return {
    id,
    diskBytes: diskBytes ?? 0,
    cgroupParent: (cgroupParent as unknown as string | undefined) ?? null,
    mounts: STANDING_MOUNTS.map((mount) => (mount.kind === 'layered' ? { ...mount, source } : mount)),
    bound: {
      jobId,
      epoch: Number(epoch),
      container: id,
      cpus: cpus ?? 0,
      memoryBytes: memoryBytes ?? 0,
      pidsLimit: pidsLimit ?? 0,
    },
  };
}
