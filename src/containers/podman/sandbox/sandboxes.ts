/** The sandboxes of one installation on this host: those of this process, and what earlier ones left. */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isBuildName, newSandboxId } from '../../../ids.ts';
import { STANDING_MOUNTS } from '../../mounts.ts';
import type { ContainerState, HeldDisk } from '../../runtime.ts';
import type { ProvisionRequest } from '../../sandbox.ts';
import { loopDevices } from '../disks/mounts.ts';
import { sandboxPaths } from './paths.ts';
import { readRecord, type SandboxRecord } from './record.ts';
import { PodmanSandbox, type SandboxParts } from './sandbox.ts';

/** Of this version, and of those in which a sandbox had its container's name. Ids become paths and cgroups. */
const ID = /^(?:sandbox_[a-z0-9]{12}|flashpods-[a-zA-Z0-9_.-]{1,64})$/;

export const isSandboxId = (value: string): boolean => ID.test(value);

/** All its subdirectories are sandboxes. */
export function sandboxRoot(dataDir: string): string {
  const root = join(dataDir, 'sandboxes');
  mkdirSync(root, { recursive: true, mode: 0o700 });
  return root;
}

/** What is written down of the sandboxes below a root. */
export const recordsBelow = (root: string): SandboxRecord[] =>
  idsBelow(root).flatMap((id) => readRecord(id, sandboxPaths(join(root, id))) ?? []);

const idsBelow = (root: string): string[] =>
  readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && isSandboxId(entry.name))
    .map((entry) => entry.name);

export class Sandboxes {
  readonly #root: string;
  readonly #parts: SandboxParts;
  readonly #known = new Map<string, PodmanSandbox>();

  constructor(root: string, parts: Omit<SandboxParts, 'coresInUse'>) {
    this.#root = root;
    this.#parts = { ...parts, coresInUse: () => this.#coresInUse() };
  }

  /** One that nobody has had, not made yet. */
  create({ diskBytes, mounts }: ProvisionRequest): PodmanSandbox {
    const id = newSandboxId();
    const cgroupParent = this.#parts.cgroups.of(id)?.path ?? null;
    const isWritable = this.#parts.roots !== null;
    return this.#hold({ id, diskBytes, mounts, cgroupParent, bound: null, isWritable });
  }

  /** The one that is bound to a dispatch, by what is written down. */
  boundTo(jobId: string, epoch: number): PodmanSandbox | null {
    for (const id of idsBelow(this.#root)) this.#read(id);
    const isIt = ({ dispatch }: PodmanSandbox): boolean =>
      dispatch?.jobId === jobId && dispatch.epoch === epoch;
    return [...this.#known.values()].find(isIt) ?? null;
  }

  /** The one of a container, also when nothing but the container is left of it. */
  of(container: ContainerState): PodmanSandbox {
    const { sandboxId, jobId, epoch, name } = container;
    const known = this.#read(sandboxId);
    if (known?.isBound) return known;
    const limits = { cpus: 0, memoryBytes: Infinity, pidsLimit: Infinity };
    const bound = { jobId, epoch, container: name, ...limits, isBuild: isBuildName(name) };
    return this.#hold({ ...this.#remains(sandboxId), bound });
  }

  /** By the kernel and by what is written down, so that they are known when the process that chose them is dead. */
  #coresInUse(): (readonly number[])[] {
    for (const id of idsBelow(this.#root)) this.#read(id);
    return [...this.#known.values()].map(({ cores }) => cores);
  }

  /** What each takes of the host's disk. */
  disks(): HeldDisk[] {
    for (const id of idsBelow(this.#root)) this.#read(id);
    return [...this.#known.values()].flatMap(({ disk }) => disk ?? []);
  }

  /** Every one of which there is a directory, a cgroup or a loop device. */
  all(): PodmanSandbox[] {
    const prefix = `${this.#root}/`;
    const behindLoops = [...loopDevices().keys()].flatMap((file) =>
      file.startsWith(prefix) ? [file.slice(prefix.length).split('/')[0] ?? ''] : [],
    );
    const ids = new Set([...idsBelow(this.#root), ...this.#parts.cgroups.found().keys(), ...behindLoops]);
    return [...ids].filter(isSandboxId).map((id) => this.#read(id) ?? this.#hold(this.#remains(id)));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#known.values()].map((sandbox) => sandbox.close()));
  }

  #read(id: string): PodmanSandbox | null {
    const known = this.#known.get(id);
    if (known) return known;
    if (!isSandboxId(id)) throw new Error(`not the id of a sandbox: ${JSON.stringify(id)}`);
    const record = readRecord(id, sandboxPaths(join(this.#root, id)));
    return record && this.#hold(record);
  }

  /** What is known of one whose record is gone. */
  #remains(id: string): SandboxRecord {
    const cgroupParent = this.#parts.cgroups.found().get(id)?.path ?? null;
    return { id, diskBytes: 0, cgroupParent, mounts: STANDING_MOUNTS, bound: null };
  }

  #hold(record: SandboxRecord): PodmanSandbox {
    const { id } = record;
    const paths = sandboxPaths(join(this.#root, id));
    const sandbox = new PodmanSandbox(this.#parts, paths, record, () => this.#known.delete(id));
    this.#known.set(id, sandbox);
    return sandbox;
  }
}
