/**
 * The system calls of a job: Podman's own list without those that make a second, larger world inside of the job.
 *
 * Podman's list lets every process make user namespaces. In one a job without any capability has all of them, and with
 * them the parts of the kernel in which most local holes were found (mounts, nf_tables, tc). Keyrings are counted by
 * host id, and all jobs share one range of ids: a job could use up the keys of everybody.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWholeSync } from '../../../files/write-whole.ts';

/** Where Podman looks for its list (containers-common): the administrator's, then the distribution's. */
const PODMANS_OWN = ['/etc/containers/seccomp.json', '/usr/share/containers/seccomp.json'];

const EPERM = 1;
const ENOSYS = 38;

/** Refused with EPERM. */
const REFUSED = [
  ...['unshare', 'setns'],
  ...['mount', 'umount', 'umount2', 'pivot_root', 'mount_setattr', 'move_mount', 'open_tree'],
  ...['fsopen', 'fsconfig', 'fsmount', 'fspick'],
  ...['keyctl', 'add_key', 'request_key'],
];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h). */
const NEW_NAMESPACES = 0x7e02_0000;

interface Rule {
  readonly names: readonly string[];
  readonly action: string;
  readonly [more: string]: unknown;
}

/** As in the OCI runtime specification, with what containers-common adds. */
export interface SeccompProfile {
  readonly syscalls: readonly Rule[];
  readonly [more: string]: unknown;
}

/** @param podmans the list to start from */
export function jobProfile(podmans: SeccompProfile): SeccompProfile {
  const ours = new Set([...REFUSED, 'clone', 'clone3']);
  const others = podmans.syscalls.map((rule) => ({
    ...rule,
    names: rule.names.filter((name) => !ours.has(name)),
  }));
  return {
    ...podmans,
    syscalls: [
      ...others.filter(({ names }) => names.length > 0),
      { names: REFUSED, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: NEW_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
      // Its flags lie in memory, where a filter can't read them; with ENOSYS every C library takes `clone`.
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    ],
  };
}

export interface JobSeccomp {
  /** File of the list, or null: Podman's own holds. */
  readonly path: string | null;
  readonly notes: readonly string[];
}

/** Writes the list for the jobs of this host into a directory of ours. */
export function writeJobProfile(directory: string, candidates: readonly string[] = PODMANS_OWN): JobSeccomp {
  for (const candidate of candidates) {
    const podmans = readProfile(candidate);
    if (podmans === null) continue;
    const path = join(directory, 'seccomp.json');
    // Whole or not at all: `doctor` writes it beside a worker whose Podman may just read it.
    writeWholeSync(path, JSON.stringify(jobProfile(podmans)), 0o644);
    return { path, notes: [] };
  }
  const why = `no list of system calls that can be read: ${candidates.join(', ')}`;
  return { path: null, notes: [`jobs can make user namespaces: ${why}`] };
}

function readProfile(file: string): SeccompProfile | null {
  try {
    const profile = JSON.parse(readFileSync(file, 'utf8')) as SeccompProfile;
    return Array.isArray(profile.syscalls) ? profile : null;
  } catch {
    return null; // not there, or nothing that Podman would take
  }
}
