import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { after, before, describe, it } from 'mocha';
import { cgroupMounts } from '../../src/containers/podman/cgroups/cgroup-v1.ts';
import { coresOf } from '../../src/containers/podman/cgroups/cores.ts';
import { loopDevices, mountsBelow } from '../../src/containers/podman/disks/mounts.ts';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import { type PodmanService, startPodmanService } from '../../src/containers/podman/service/service.ts';
import { readProcess } from '../../src/containers/podman/container/termination.ts';
import type { ContainerRuntime } from '../../src/containers/runtime.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { containerName, newJobId } from '../../src/ids.ts';
import { eventually } from '../support/eventually.ts';
import {
  type TestPodman,
  disposeAll,
  finished,
  launch,
  leftovers,
  printed,
  runToEnd,
  startTestPodman,
} from '../support/podman.ts';

/** Two runs of this file on one machine must not see each other. */
const DEPLOYMENT = `adopted-${process.pid}`;
const LAUNCHER = fileURLToPath(new URL('fixtures/launcher.ts', import.meta.url));

interface Left {
  readonly sandbox: string;
  readonly jobId: string;
  /** Pid of its Podman service. */
  readonly service: number;
}

/** Lets another process take a job that far and kills it there. @returns what it left */
async function cutOff(directory: string, howFar: string, script: string): Promise<Left> {
  const child = spawn(process.execPath, [LAUNCHER, directory, DEPLOYMENT, newJobId(), howFar, script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    child.kill('SIGKILL');
    await gone;
    return JSON.parse(line) as Left;
  }
  throw new Error('the launcher ended early');
}

function assertNothingLeft(directory: string, { sandbox, jobId }: Left): void {
  // Layers of images are not a job's; they stay while the worker runs.
  const layers = join(directory, 'data', 'layers');
  assert.deepEqual(
    mountsBelow(directory).filter(({ target }) => !target.startsWith(layers)),
    [],
  );
  assert.deepEqual(
    [...loopDevices().keys()].filter((file) => file.startsWith(directory)),
    [],
  );
  for (const mount of cgroupMounts().all)
    assert.ok(
      !existsSync(join(mount, 'flashpods', `test-host.${DEPLOYMENT}`, sandbox)),
      `a cgroup in ${mount}`,
    );
  assert.deepEqual(readdirSync(join(directory, 'data', 'sandboxes')), []);
  const listed = execFileSync('podman', ['ps', '--all', '--format', '{{.Names}}'], { encoding: 'utf8' });
  assert.ok(!listed.includes(jobId), listed);
  assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(sandbox));
}

describe('a worker that was killed', () => {
  let directory: string;
  let service: PodmanService | undefined;
  let runtime: ContainerRuntime | undefined;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'fp-adopt-'));
  });
  after(async () => {
    if (runtime) await disposeAll(runtime);
    await runtime?.close();
    await service?.stop();
    rmSync(directory, { recursive: true, force: true });
    const processes = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' });
    assert.ok(!processes.includes(directory), 'a Podman service is left');
  });

  const successor = async (): Promise<ContainerRuntime> => {
    await runtime?.close();
    await service?.stop();
    const runDir = join(directory, 'run');
    service = await startPodmanService({ runDir });
    runtime = await createPodmanRuntime({
      socketPath: service.socketPath,
      hostName: 'test-host',
      deploymentId: DEPLOYMENT,
      dataDir: join(directory, 'data'),
      runDir,
    });
    return runtime;
  };

  const found = async (adopted: ContainerRuntime, jobId: string): Promise<Sandbox> => {
    const sandbox = await adopted.find(jobId, 1);
    assert.ok(sandbox);
    return sandbox;
  };

  it('leaves a running container to its successor, with exit code, log and artifacts', async () => {
    const left = await cutOff(
      directory,
      'start',
      'for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done; echo x > /artifacts/a; exit 5',
    );
    assert.ok(readProcess(left.service), 'its Podman service outlived it');
    const adopted = await successor();
    assert.equal(readProcess(left.service), null, 'and is ended by the successor');
    const [seen] = await adopted.sandboxes();
    assert.equal(seen?.container?.name, containerName(left.jobId, 1));
    const { sandbox } = seen;
    assert.deepEqual([sandbox.id, sandbox.dispatch], [left.sandbox, { jobId: left.jobId, epoch: 1 }]);
    await sandbox.start();
    const { state, output } = await finished(sandbox);
    assert.equal(state.exitCode, 5);
    assert.equal(output, '1\n2\n3\n4\n5\n6\n');
    assert.deepEqual(readdirSync(await sandbox.artifactsPath()), ['a']);
    await sandbox.dispose();
    assertNothingLeft(directory, left);
  });

  it('leaves the cores of what runs to its successor, as the kernel has them', async () => {
    const cores = (): number[] =>
      coresOf(/^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '');
    const [first, second] = cores();
    assert.ok(first !== undefined && second !== undefined, 'this test needs a machine with two cores');
    const left = await cutOff(directory, 'start', 'sleep 600');
    const hierarchy = cgroupMounts().byController.get('cpuset') ?? '/sys/fs/cgroup';
    const set = execFileSync(
      'find',
      [hierarchy, '-path', `*/${left.sandbox}/libpod-*`, '-name', 'cpuset.cpus'],
      {
        encoding: 'utf8',
      },
    );
    // Its record says the first.
    writeFileSync(set.trim().split('\n')[0] ?? '', String(second));
    const adopted = await successor();
    await adopted.sandboxes();
    const { output } = await runToEnd(adopted, { script: 'grep Cpus_allowed_list /proc/self/status' });
    assert.deepEqual(coresOf(output.trim().split('\t')[1] ?? ''), [first]);
    const sandbox = await found(adopted, left.jobId);
    await sandbox.kill();
    await sandbox.dispose();
  });

  it('leaves the reason of an end that nobody saw', async () => {
    const { jobId } = await cutOff(directory, 'start', 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done');
    const sandbox = await found(await successor(), jobId);
    const { state, verdict } = await finished(sandbox);
    assert.equal(state.exitCode, 137);
    assert.equal(verdict.oomKilled, true);
    await sandbox.dispose();
  });

  for (const howFar of ['provision', 'bind', 'start'])
    it(`leaves nothing that its successor does not find and remove, cut after ${howFar}`, async () => {
      const left = await cutOff(directory, howFar, 'sleep 60');
      const adopted = await successor();
      assert.deepEqual(await leftovers(adopted), [left.sandbox]);
      const sandbox = (await adopted.sandboxes())[0]?.sandbox;
      assert.ok(sandbox);
      assert.equal(sandbox.dispatch?.jobId, howFar === 'provision' ? undefined : left.jobId);
      await sandbox.dispose();
      await sandbox.dispose();
      assert.deepEqual(await leftovers(adopted), []);
      assertNothingLeft(directory, left);
    });

  it('can have created a container that its successor starts', async () => {
    const { jobId } = await cutOff(directory, 'bind', 'echo started late');
    const sandbox = await found(await successor(), jobId);
    assert.equal((await sandbox.inspect())?.phase, 'created');
    await sandbox.start();
    assert.equal((await finished(sandbox)).output, 'started late\n');
    await sandbox.dispose();
  });
});

describe('a Podman service that dies', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  const ping = async (socketPath: string, timeoutMs: number): Promise<void> => {
    const client = new PodmanClient(socketPath);
    await client.call('GET', '/_ping', { timeoutMs }).finally(() => client.close());
  };

  it('is started again, and containers and those who wait for them do not notice', async () => {
    const { runtime, service } = podman;
    const sandbox = await launch(runtime, { script: 'echo ready; sleep 1; exit 9' });
    const waiting = finished(sandbox);
    const first = service.pid;
    assert.ok(first !== null);
    process.kill(first, 'SIGKILL');
    await eventually(
      'another one runs',
      () => service.restarts === 1 && service.pid !== null && service.pid !== first,
    );
    await eventually('it answers', () => ping(service.socketPath, 500).then(() => true));
    assert.equal((await waiting).state.exitCode, 9);
    await sandbox.dispose();
  });

  it('makes calls fail with an error that says so, and quickly', async () => {
    const { service } = podman;
    const { pid } = service;
    assert.ok(pid !== null);
    process.kill(pid, 'SIGSTOP');
    try {
      const began = performance.now();
      await assert.rejects(ping(service.socketPath, 200), { code: 'container_error' });
      assert.ok(performance.now() - began < 2_000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });

  it('leaves its containers running when it is stopped', async () => {
    const { runtime, service } = podman;
    const sandbox = await launch(runtime, { script: 'echo ready; sleep 60' });
    await eventually('it runs', () => printed(sandbox).includes('ready'));
    await service.stop();
    await service.exited;
    assert.equal(existsSync(service.socketPath), false);
    await assert.rejects(sandbox.inspect(), { code: 'container_error' });
    const again = await startPodmanService({ runDir: join(podman.directory, 'run') });
    try {
      assert.equal((await sandbox.inspect())?.phase, 'running');
      await sandbox.dispose();
    } finally {
      podman.service = again;
    }
  });

  it('is given up by its owner when a newer one takes over', async () => {
    const runDir = mkdtempSync(join(tmpdir(), 'fp-owner-'));
    const older = await startPodmanService({ runDir });
    const { pid } = older;
    const newer = await startPodmanService({ runDir });
    try {
      await older.exited;
      assert.equal(readProcess(pid ?? 0), null);
      await older.stop();
      assert.ok(existsSync(newer.socketPath), 'stopping the older leaves the newer alone');
      assert.equal(newer.restarts, 0);
    } finally {
      await newer.stop();
      rmSync(runDir, { recursive: true });
    }
  });

  it('is not the business of another deployment on the same machine', async () => {
    const other = await startTestPodman();
    try {
      const sandbox = await launch(other.runtime, { script: 'sleep 60' });
      assert.deepEqual(await leftovers(podman.runtime), []);
      assert.deepEqual(await leftovers(other.runtime), [sandbox.id]);
    } finally {
      await other.end();
    }
  });
});
