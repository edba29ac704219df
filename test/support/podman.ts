/** A Podman service and a runtime of a test's own, and what a test does with them most. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { type PodmanService, startPodmanService } from '../../src/containers/podman/service/service.ts';
import { type Mount, STANDING_MOUNTS, runFilesMounts, workMount } from '../../src/containers/mounts.ts';
import type { ContainerRuntime, ContainerState, Verdict } from '../../src/containers/runtime.ts';
import type { LaunchSpec, Sandbox } from '../../src/containers/sandbox.ts';
import type { Mirrors } from '../../src/mirrors/mirrors.ts';
import { newJobId } from '../../src/ids.ts';

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
  readonly root?: 'read-only';
  readonly imageIdleMs?: number;
  readonly mirrors?: { current(): Mirrors | null };
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
      await disposeAll(runtime);
      await runtime.close();
      await podman.service.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return podman;
}

export type JobOverrides = Partial<Omit<LaunchSpec, 'mounts'>> & {
  /** Run by `/bin/sh -c`. */
  readonly script?: string;
  readonly diskBytes?: number;
  readonly workDir?: string | null;
  readonly workReadOnly?: boolean;
  readonly runFiles?: Readonly<Record<string, string>>;
  readonly moreMounts?: readonly Mount[];
};

export type TestSpec = LaunchSpec & { readonly diskBytes: number };

export function testSpec(overrides: JobOverrides = {}): TestSpec {
  const { script, workDir = null, workReadOnly = true, runFiles = {}, moreMounts = [], ...rest } = overrides;
  return {
    jobId: newJobId(),
    epoch: 1,
    jobType: 'worker',
    image: BASE_IMAGE,
    command: ['/bin/sh', '-c', script ?? 'true'],
    env: {},
    cpus: 1,
    memoryBytes: 256 * MB,
    pidsLimit: 128,
    network: 'none',
    root: false,
    mounts: [workMount(workDir, !workReadOnly), ...runFilesMounts(runFiles), ...moreMounts],
    diskBytes: 64 * MB,
    ...rest,
  };
}

/** Makes the sandbox that a job of this specification is launched in. */
export const provision = (runtime: ContainerRuntime, { diskBytes }: TestSpec): Promise<Sandbox> =>
  runtime.provision({ diskBytes, mounts: STANDING_MOUNTS });

/** Provisions and launches. */
export async function launch(runtime: ContainerRuntime, overrides: JobOverrides = {}): Promise<Sandbox> {
  const spec = testSpec(overrides);
  const sandbox = await provision(runtime, spec);
  await sandbox.bind(spec);
  await sandbox.start();
  return sandbox;
}

/** Ids of the sandboxes of which anything is left. */
export const leftovers = async (runtime: ContainerRuntime): Promise<string[]> =>
  (await runtime.sandboxes()).map(({ sandbox }) => sandbox.id).sort();

/** Takes away all that is left. */
export async function disposeAll(runtime: ContainerRuntime): Promise<void> {
  for (const { sandbox } of await runtime.sandboxes()) await sandbox.dispose();
}

/** What the container has printed so far: the lines of both streams, in the order in which they ended. */
export function printed({ spoolPath }: Sandbox): string {
  const begun: Record<string, string> = {};
  let output = '';
  for (const record of readFileSync(spoolPath, 'utf8').split('\n').filter(Boolean)) {
    const [, stream = '', tag, ...text] = record.split(' ');
    const line = (begun[stream] ?? '') + text.join(' ');
    if (tag === 'F') output += `${line}\n`;
    begun[stream] = tag === 'F' ? '' : line;
  }
  return output + Object.values(begun).join('');
}

export interface Finished {
  readonly state: ContainerState;
  readonly verdict: Verdict;
  readonly output: string;
}

export async function finished(sandbox: Sandbox): Promise<Finished> {
  const state = await sandbox.waitForExit(AbortSignal.timeout(60_000));
  if (!state) throw new Error(`${sandbox.id} vanished`);
  return { state, verdict: await sandbox.verdict(), output: printed(sandbox) };
}

/** Runs one job from its beginning to its end and takes its sandbox away. */
export async function runToEnd(runtime: ContainerRuntime, overrides: JobOverrides = {}): Promise<Finished> {
  const sandbox = await launch(runtime, overrides);
  const result = await finished(sandbox);
  await sandbox.dispose();
  return result;
}
