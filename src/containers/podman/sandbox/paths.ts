/** Where the parts of a sandbox are on this host. */
import { join } from 'node:path';

export type SandboxPaths = Readonly<ReturnType<typeof sandboxPaths>>;

/** What a job wrote stays in here; the record is complete or absent. */
export const sandboxPaths = (directory: string) => ({
  directory,
  record: join(directory, 'sandbox.json'),
  /** The record of versions before sandboxes had an id. */
  request: join(directory, 'request.json'),
  evidence: join(directory, 'evidence.json'),
  spool: join(directory, 'spool.log'),
  /** What the disk is, where it is a file, and what its device had counted before the job. */
  image: join(directory, 'disk.img'),
  diskBaseline: join(directory, 'disk.json'),
  /** The root of the job's disk. */
  disk: join(directory, 'disk'),
});
