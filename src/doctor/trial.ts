/** A container that does nothing, started as a job would be: what only shows when one really starts is found so. */
import type { ContainerRuntime } from '../containers/runtime.ts';
import { newJobId, sandboxName } from '../ids.ts';

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
  const jobId = newJobId();
  const name = sandboxName(jobId, 1);
  const limits = { cpus: 1, memoryBytes: 256 * MIB, pidsLimit: 64 };
  try {
    await runtime.provision({ name, diskBytes: 64 * MIB, ...limits });
    signal.throwIfAborted();
    await runtime.create({
      name,
      jobId,
      epoch: 1,
      jobType: 'worker',
      image,
      command: ['/bin/sh', '-c', 'true'],
      env: {},
      ...limits,
      network,
      workDir: null,
      workReadOnly: true,
      runFiles: {},
    });
    signal.throwIfAborted();
    await runtime.start(name);
    return (await runtime.waitForExit(name, signal))?.exitCode ?? null;
  } finally {
    await runtime.dispose(name);
  }
}
