import type { ContainerRuntime } from '../../../src/containers/runtime.ts';
import { runToEnd } from '../podman.ts';

/** The address by which jobs reach this machine. The bridge is there once a job has used it. */
export async function bridgeAddress(runtime: ContainerRuntime): Promise<string> {
  // The default route, as the kernel writes it: bytes in the order of the machine.
  const { output } = await runToEnd(runtime, { network: 'internet', script: 'cat /proc/net/route' });
  const gateway = output
    .split('\n')
    .map((line) => line.split('\t'))
    .find(([, to]) => to === '00000000')?.[2];
  if (gateway === undefined) throw new Error(`a job has no default route: ${output}`);
  return [6, 4, 2, 0].map((at) => Number.parseInt(gateway.slice(at, at + 2), 16)).join('.');
}
