/** Where the parts of a sandbox are on this host, and the small record that outlives a crash. */
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../../../errors.ts';
import type { ProvisionRequest } from '../../runtime.ts';

/** Names become paths, cgroups and container names: nothing but these characters. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** What a job wrote stays in here; `request.json` is complete or absent. */
export interface SandboxPaths {
  readonly directory: string;
  readonly request: string;
  readonly evidence: string;
  readonly spool: string;
  readonly image: string;
  /** What the disk's device had counted before the job. */
  readonly diskBaseline: string;
  /** The root of the job's disk. */
  readonly disk: string;
  readonly artifacts: string;
  readonly home: string;
  readonly tmp: string;
  readonly varTmp: string;
  /** A `/work` that the job may change, what it changed there, the overlay's own directory, and its plan. */
  readonly work: string;
  readonly workPlan: string;
  readonly workChanges: string;
  readonly workOverlay: string;
  /** Bound to `/work` when the job has no files and may not write there. */
  readonly emptyWork: string;
  /** Bound to `/run/flashpods`, to read: what this job alone is told, and the place of sockets of its own. */
  readonly run: string;
}

export function assertSandboxName(name: string): void {
  if (!NAME.test(name)) throw new Error(`not a sandbox name: ${JSON.stringify(name)}`);
}

/** The directory of one installation's sandboxes; all its subdirectories are sandboxes. */
export class Sandboxes {
  readonly #root: string;

  constructor(dataDir: string) {
    this.#root = join(dataDir, 'sandboxes');
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
  }

  get root(): string {
    return this.#root;
  }

  paths(name: string): SandboxPaths {
    assertSandboxName(name);
    const directory = join(this.#root, name);
    const disk = join(directory, 'disk');
    return {
      directory,
      request: join(directory, 'request.json'),
      evidence: join(directory, 'evidence.json'),
      spool: join(directory, 'spool.log'),
      image: join(directory, 'disk.img'),
      diskBaseline: join(directory, 'disk.json'),
      disk,
      artifacts: join(disk, 'artifacts'),
      home: join(disk, 'home'),
      tmp: join(disk, 'tmp'),
      varTmp: join(disk, 'var-tmp'),
      work: join(disk, 'work'),
      workPlan: join(directory, 'work.json'),
      workChanges: join(disk, 'work-changes'),
      workOverlay: join(disk, 'work-overlay'),
      emptyWork: join(directory, 'work'),
      run: join(directory, 'run'),
    };
  }

  names(): string[] {
    return readdirSync(this.#root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && NAME.test(entry.name))
      .map((entry) => entry.name);
  }

  readRequest(name: string): ProvisionRequest | null {
    return readJson(this.paths(name).request) as ProvisionRequest | null;
  }
}

/** @returns null when there is no such file. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as unknown;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** The file is the old or the new one, whole, whenever the process dies. */
export function writeJson(path: string, value: unknown): void {
  writeFileSync(`${path}.new`, JSON.stringify(value), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
