/** Where the parts of a sandbox are on this host. */
import { basename, join } from 'node:path';

/** Of all installations of this machine; empty after a boot, as what is mounted there. */
const ROOTS = '/run/flashpods-roots';

export type SandboxPaths = Readonly<ReturnType<typeof sandboxPaths>>;

/** What a job wrote stays in here; the record is complete or absent. */
export const sandboxPaths = (directory: string) => ({
  directory,
  record: join(directory, 'sandbox.json'),
  /** The record of versions before sandboxes had an id. */
  request: join(directory, 'request.json'),
  evidence: join(directory, 'evidence.json'),
  spool: join(directory, 'spool.log'),
  /** What it sees of the machine's size. */
  machine: join(directory, 'machine'),
  /** What the disk is, where it is a file, and what its device had counted before the job. */
  image: join(directory, 'disk.img'),
  diskBaseline: join(directory, 'disk.json'),
  /** The root of the job's disk. */
  disk: join(directory, 'disk'),
  /**
   * Where its root file system is mounted, if it is one of ours, and the directory around it. The OCI runtime goes there
   * with the ids of the container, so no other directory on the way may be closed to them; the one around it is closed
   * to everybody else.
   */
  root: join(ROOTS, basename(directory), 'root'),
  rootPlace: join(ROOTS, basename(directory)),
  /** There once that root has what the image lacks. */
  rootMark: join(directory, 'root.made'),
});
