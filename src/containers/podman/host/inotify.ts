/**
 * How much of inotify a job may hold. The kernel counts instances and watches in a job's user namespace and, once more,
 * with the user who made that namespace: the host's root. Without limits of its own, one job could use up what the
 * daemons of the host need (user_namespaces(7), inotify(7), /proc/sys/user).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { messageOf } from '../../../errors.ts';

/** Tools that watch files hold one or a few. */
export const JOB_INSTANCES = 64;
/** A large repository has some ten thousand directories. Each is about a kilobyte of the kernel's memory. */
export const JOB_WATCHES = 65_536;

/** For as many greedy jobs as any host of ours runs at once, and its daemons besides. */
const HOST_INSTANCES = 8_192;
const HOST_WATCHES = 4_194_304;
const HOST = '/proc/sys/fs/inotify';

/**
 * An OCI hook, which the runtime calls with the state of a container on its input when its namespaces are there and its
 * program is not. A container whose hook fails would not start; a host that can't do this goes on without.
 */
export const INOTIFY_HOOK = `#!/bin/sh
# Written by flashpods; see src/containers/podman/host/inotify.ts.
pid=$(tr -d ' \\n' | grep -o '"pid":[0-9][0-9]*' | head -n 1 | cut -d : -f 2)
[ -n "$pid" ] && [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ] && nsenter --user --target "$pid" /bin/sh -c '
  echo ${JOB_INSTANCES} >/proc/sys/user/max_inotify_instances
  echo ${JOB_WATCHES} >/proc/sys/user/max_inotify_watches'
exit 0
`;

/**
 * Gives this host enough for its daemons beside all jobs, where the process may: it never lowers what is set.
 * @returns what `doctor` says of it; null when there is enough
 */
export function raiseHostInotify(directory = HOST): string | null {
  try {
    raise(`${directory}/max_user_instances`, HOST_INSTANCES);
    raise(`${directory}/max_user_watches`, HOST_WATCHES);
    return null;
  } catch (error) {
    return `greedy jobs can use up the inotify instances of this user (${messageOf(error)}): set fs.inotify.max_user_instances=${HOST_INSTANCES} by sysctl`;
  }
}

function raise(file: string, least: number): void {
  if (Number(readFileSync(file, 'utf8')) < least) writeFileSync(file, String(least));
}
