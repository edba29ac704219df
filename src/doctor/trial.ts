/** A container that does nothing, started as a job would be: what only shows when one really starts is found so. */
import { STANDING_MOUNTS, workMount } from '../containers/mounts.ts';
import type { ContainerRuntime } from '../containers/runtime.ts';
import { newJobId } from '../ids.ts';

const MIB = 2 ** 20;

export interface Trial {
  readonly image: string;
  readonly network: 'internet' | 'none';
}

/**
 * Runs it to its end and takes everything of it away again, also when it fails or is aborted.
 * @returns its exit code; null when nobody can know it
 * @throws FlashpodsError container_start_failed, container_error; the signal's reason
 */
export async function runTrial(
  runtime: ContainerRuntime,
  { image, network }: Trial,
  signal: AbortSignal,
): Promise<number | null> {
  const sandbox = await runtime.provision({ diskBytes: 64 * MIB, mounts: STANDING_MOUNTS });
  try {
    signal.throwIfAborted();
    await sandbox.bind({
      jobId: newJobId(),
      epoch: 1,
      jobType: 'worker',
      image,
      command: ['/bin/sh', '-c', 'true'],
      env: {},
      cpus: 1,
      memoryBytes: 256 * MIB,
      pidsLimit: 64,
      network,
      root: false,
      mounts: [workMount(null, false)],
    });
    signal.throwIfAborted();
    await sandbox.start();
    return (await sandbox.waitForExit(signal))?.exitCode ?? null;
  } finally {
    await sandbox.dispose();
  }
}
