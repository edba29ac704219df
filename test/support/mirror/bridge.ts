import type { ContainerRuntime } from '../../../src/containers/runtime.ts';
import { eventually } from '../eventually.ts';
import { launch, printed } from '../podman.ts';

export interface Bridge {
  /** By which jobs reach this machine. */
  readonly address: string;
  close(): Promise<void>;
}

/** Holds the bridge of jobs with one of them: netavark (Debian 13) takes it away with the last. */
export async function holdBridge(runtime: ContainerRuntime): Promise<Bridge> {
  const script = 'cat /proc/net/route; echo whole; sleep infinity';
  const job = await launch(runtime, { network: 'internet', script });
  await eventually('the job tells its routes', () => printed(job).includes('whole'));
  // The default route, as the kernel writes it: bytes in the order of the machine.
  const gateway = printed(job)
    .split('\n')
    .map((line) => line.split('\t'))
    .find(([, to]) => to === '00000000')?.[2];
  if (gateway === undefined) throw new Error(`a job has no default route: ${printed(job)}`);
  return {
    address: [6, 4, 2, 0].map((at) => Number.parseInt(gateway.slice(at, at + 2), 16)).join('.'),
    close: () => job.dispose(),
  };
}
