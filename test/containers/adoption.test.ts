import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { after, before, describe, it } from 'mocha';
import { cgroupMounts } from '../../src/containers/podman/cgroups/cgroup-v1.ts';
import { loopDevices, mountsBelow } from '../../src/containers/podman/disks/mounts.ts';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { type PodmanService, startPodmanService } from '../../src/containers/podman/service/service.ts';
import { readProcess } from '../../src/containers/podman/container/termination.ts';
import type { ContainerRuntime } from '../../src/containers/runtime.ts';
import { newJobId } from '../../src/ids.ts';
import { eventually } from '../support/eventually.ts';
import { type TestPodman, finished, launch, printed, startTestPodman } from '../support/podman.ts';

/** Two runs of this file on one machine must not see each other. */
const DEPLOYMENT = `adopted-${process.pid}`;
const LAUNCHER = fileURLToPath(new URL('fixtures/launcher.ts', import.meta.url));

/** Lets another process take a job that far and kills it there. @returns sandbox and pid of the service it left */
async function cutOff(
  directory: string,
  howFar: string,
  script: string,
): Promise<{ name: string; service: number }> {
  const child = spawn(process.execPath, [LAUNCHER, directory, DEPLOYMENT, newJobId(), howFar, script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    child.kill('SIGKILL');
    await gone;
    return JSON.parse(line) as { name: string; service: number };
  }
  throw new Error('the launcher ended early');
}

function assertNothingLeft(directory: string, name: string): void {
  assert.deepEqual(mountsBelow(directory), []);
  assert.deepEqual(
    [...loopDevices().keys()].filter((file) => file.startsWith(directory)),
    [],
  );
  for (const mount of cgroupMounts().all)
    assert.ok(!existsSync(join(mount, 'flashpods', `test-host.${DEPLOYMENT}`, name)), `a cgroup in ${mount}`);
  assert.deepEqual(readdirSync(join(directory, 'data', 'sandboxes')), []);
  const listed = execFileSync('podman', ['ps', '--all', '--format', '{{.Names}}'], { encoding: 'utf8' });
  assert.ok(!listed.includes(name), listed);
  assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(name));
}

describe('a worker that was killed', () => {
  let directory: string;
  let service: PodmanService | undefined;
  let runtime: ContainerRuntime | undefined;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'fp-adopt-'));
  });
  after(async () => {
    for (const name of (await runtime?.leftovers()) ?? []) await runtime?.dispose(name);
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

  it('leaves a running container to its successor, with exit code, log and artifacts', async () => {
    const left = await cutOff(
      directory,
      'start',
      'for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done; echo x > /artifacts/a; exit 5',
    );
    assert.ok(readProcess(left.service), 'its Podman service outlived it');
    const adopted = await successor();
    assert.equal(readProcess(left.service), null, 'and is ended by the successor');
    const [seen] = await adopted.list();
    assert.equal(seen?.name, left.name);
    await adopted.start(left.name);
    const { state, output } = await finished(adopted, left.name);
    assert.equal(state.exitCode, 5);
    assert.equal(output, '1\n2\n3\n4\n5\n6\n');
    assert.deepEqual(readdirSync(await adopted.artifactsPath(left.name)), ['a']);
    await adopted.dispose(left.name);
    assertNothingLeft(directory, left.name);
  });

  it('leaves the reason of an end that nobody saw', async () => {
    const { name } = await cutOff(directory, 'start', 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done');
    const adopted = await successor();
    const { state, verdict } = await finished(adopted, name);
    assert.equal(state.exitCode, 137);
    assert.equal(verdict.oomKilled, true);
    await adopted.dispose(name);
  });

  for (const howFar of ['provision', 'create', 'start'])
    it(`leaves nothing that its successor does not find and remove, cut after ${howFar}`, async () => {
      const { name } = await cutOff(directory, howFar, 'sleep 60');
      const adopted = await successor();
      assert.deepEqual(await adopted.leftovers(), [name]);
      await adopted.dispose(name);
      await adopted.dispose(name);
      assert.deepEqual(await adopted.leftovers(), []);
      assertNothingLeft(directory, name);
    });

  it('can have created a container that its successor starts', async () => {
    const { name } = await cutOff(directory, 'create', 'echo started late');
    const adopted = await successor();
    assert.equal((await adopted.inspect(name))?.phase, 'created');
    await adopted.start(name);
    assert.equal((await finished(adopted, name)).output, 'started late\n');
    await adopted.dispose(name);
  });
});

describe('a Podman service that dies', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  it('is started again, and containers and those who wait for them do not notice', async () => {
    const { runtime, service } = podman;
    const name = await launch(runtime, { script: 'echo ready; sleep 1; exit 9' });
    const waiting = finished(runtime, name);
    const first = service.pid;
    assert.ok(first !== null);
    process.kill(first, 'SIGKILL');
    await eventually(
      'another one runs',
      () => service.restarts === 1 && service.pid !== null && service.pid !== first,
    );
    await eventually('it answers', () => runtime.ping(500).then(() => true));
    assert.equal((await waiting).state.exitCode, 9);
    await runtime.dispose(name);
  });

  it('makes calls fail with an error that says so, and quickly', async () => {
    const { runtime, service } = podman;
    const { pid } = service;
    assert.ok(pid !== null);
    process.kill(pid, 'SIGSTOP');
    try {
      const began = performance.now();
      await assert.rejects(runtime.ping(200), { code: 'container_error' });
      assert.ok(performance.now() - began < 2_000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });

  it('leaves its containers running when it is stopped', async () => {
    const { runtime, service } = podman;
    const name = await launch(runtime, { script: 'echo ready; sleep 60' });
    await eventually('it runs', () => printed(runtime, name).includes('ready'));
    await service.stop();
    await service.exited;
    assert.equal(existsSync(service.socketPath), false);
    await assert.rejects(runtime.inspect(name), { code: 'container_error' });
    const again = await startPodmanService({ runDir: join(podman.directory, 'run') });
    try {
      assert.equal((await runtime.inspect(name))?.phase, 'running');
      await runtime.dispose(name);
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
      const name = await launch(other.runtime, { script: 'sleep 60' });
      assert.deepEqual(await podman.runtime.list(), []);
      assert.deepEqual(await podman.runtime.leftovers(), []);
      assert.deepEqual(await other.runtime.leftovers(), [name]);
    } finally {
      await other.end();
    }
  });
});
