/**
 * stdout and stderr of a job are pipes that its container's monitor has made, so they belong to the user of that. A
 * process may write to them, but `/dev/stdout` and `/dev/stderr` open them anew, and only their owner may: where a job
 * has a user namespace of its own, nobody in it is. Nobody else can reach them, so all are let in.
 */
import { chmodSync, readlinkSync } from 'node:fs';
import { ifThere } from '../../../files/if-missing.ts';

/** @param pids of a container that has not begun; one that has ended is passed over */
export function openOutputPipes(pids: readonly number[]): void {
  for (const pid of pids)
    for (const descriptor of [1, 2]) {
      const path = `/proc/${pid}/fd/${descriptor}`;
      ifThere(
        () => {
          if (readlinkSync(path).startsWith('pipe:')) chmodSync(path, 0o666);
        },
        undefined,
        'ESRCH',
      );
    }
}
