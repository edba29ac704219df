/** Where the parts of a sandbox are on this host. */
import { join } from 'node:path';

/** What a job wrote stays in here; the record is complete or absent. */
export interface SandboxPaths {
  readonly directory: string;
  readonly record: string;
  /** The record of versions before sandboxes had an id. */
  readonly request: string;
  readonly evidence: string;
  readonly spool: string;
  /** What the disk is, where it is a file, and what its device had counted before the job. */
  readonly image: string;
  readonly diskBaseline: string;
  /** The root of the job's disk. */
  readonly disk: string;
}

export function sandboxPaths(directory: string): SandboxPaths {
  return {
    directory,
    record: join(directory, 'sandbox.json'),
    request: join(directory, 'request.json'),
    evidence: join(directory, 'evidence.json'),
    spool: join(directory, 'spool.log'),
    image: join(directory, 'disk.img'),
    diskBaseline: join(directory, 'disk.json'),
    disk: join(directory, 'disk'),
  };
}
