/** A Podman service and a runtime of a test's own, and what a test does with them most. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { type PodmanService, startPodmanService } from '../../src/containers/podman/service/service.ts';
import type {
  ContainerRuntime,
  ContainerSpec,
  ContainerState,
  Verdict,
} from '../../src/containers/runtime.ts';
import { newJobId, sandboxName } from '../../src/ids.ts';

const MB = 1024 * 1024;

export interface TestPodman {
  readonly directory: string;
  /** A test that stops it puts another into its place. */
  service: PodmanService;
  readonly runtime: ContainerRuntime;
  readonly hostName: string;
  readonly deploymentId: string;
  /** Disposes of all that the runtime still has, ends the service, removes the directory. */
  end(): Promise<void>;
}

export interface TestPodmanOptions {
  readonly disk?: 'watch';
}

export async function startTestPodman(options: TestPodmanOptions = {}): Promise<TestPodman> {
  const directory = mkdtempSync(join(tmpdir(), 'fp-podman-'));
  const service = await startPodmanService({ runDir: join(directory, 'run') });
  const hostName = 'test-host';
  const deploymentId = newJobId().replace('job_', 'test-');
  const runtime = await createPodmanRuntime({
    socketPath: service.socketPath,
    hostName,
    deploymentId,
    dataDir: join(directory, 'data'),
    runDir: join(directory, 'run'),
    ...options,
  });
  const podman: TestPodman = {
    directory,
    service,
    runtime,
    hostName,
    deploymentId,
    async end() {
      for (const name of await runtime.leftovers()) await runtime.dispose(name);
      await runtime.close();
      await podman.service.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return podman;
}

export type JobOverrides = Partial<ContainerSpec> & {
  /** Run by `/bin/sh -c`. */
  readonly script?: string;
  readonly diskBytes?: number;
};

export function testSpec(overrides: JobOverrides = {}): ContainerSpec & { readonly diskBytes: number } {
  const { script, ...rest } = overrides;
  const jobId = rest.jobId ?? newJobId();
  return {
    name: sandboxName(jobId, rest.epoch ?? 1),
    jobId,
    epoch: 1,
    jobType: 'worker',
    image: BASE_IMAGE,
    command: ['/bin/sh', '-c', script ?? 'true'],
    env: {},
    cpus: 1,
    memoryBytes: 256 * MB,
    pidsLimit: 128,
    network: 'none',
    workDir: null,
    workReadOnly: true,
    runFiles: {},
    diskBytes: 64 * MB,
    ...rest,
  };
}

/** Provisions, creates and starts. @returns the sandbox's name */
export async function launch(runtime: ContainerRuntime, overrides: JobOverrides = {}): Promise<string> {
  const spec = testSpec(overrides);
  await runtime.provision(spec);
  await runtime.create(spec);
  await runtime.start(spec.name);
  return spec.name;
}

/** What the container has printed so far: the lines of both streams, in the order in which they ended. */
export function printed(runtime: ContainerRuntime, name: string): string {
  const begun: Record<string, string> = {};
  let output = '';
  for (const record of readFileSync(runtime.spoolPath(name), 'utf8').split('\n').filter(Boolean)) {
    const [, stream = '', tag, ...text] = record.split(' ');
    const line = (begun[stream] ?? '') + text.join(' ');
    if (tag === 'F') output += `${line}\n`;
    begun[stream] = tag === 'F' ? '' : line;
  }
  return output + Object.values(begun).join('');
}

export interface Finished {
  readonly name: string;
  readonly state: ContainerState;
  readonly verdict: Verdict;
  readonly output: string;
}

export async function finished(runtime: ContainerRuntime, name: string): Promise<Finished> {
  const state = await runtime.waitForExit(name, AbortSignal.timeout(60_000));
  if (!state) throw new Error(`${name} vanished`);
  return { name, state, verdict: await runtime.verdict(name), output: printed(runtime, name) };
}

/** Runs one job from its beginning to its end and takes its sandbox away. */
export async function runToEnd(runtime: ContainerRuntime, overrides: JobOverrides = {}): Promise<Finished> {
  const name = await launch(runtime, overrides);
  const result = await finished(runtime, name);
  await runtime.dispose(name);
  return result;
}
