import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { writeServiceConfig } from '../../src/containers/podman/service/service-config.ts';
import type { ContainerRuntime } from '../../src/containers/runtime.ts';
import { eventually } from '../support/eventually.ts';
import { disposeAll, runToEnd } from '../support/podman.ts';

/** One that was set up by somebody else, and runs Podman's own cleanup after every container. */
describe('a Podman service that is given', () => {
  let directory: string;
  let service: ChildProcess;
  let runtime: ContainerRuntime;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'fp-given-'));
    const { ociRuntime } = await writeServiceConfig({ runDir: directory, cgroupManager: 'cgroupfs' });
    const file = join(directory, 'given.conf');
    writeFileSync(file, `[engine]\nruntime = "${ociRuntime}"\ncgroup_manager = "cgroupfs"\n`);
    const socketPath = join(directory, 'p.sock');
    service = spawn('podman', ['system', 'service', '--time=0', `unix://${socketPath}`], {
      cwd: directory, // conmon leaves a file `oom` there
      env: { ...process.env, CONTAINERS_CONF: file },
      stdio: 'ignore',
    });
    await eventually('it listens', () => existsSync(socketPath));
    runtime = await createPodmanRuntime({
      socketPath,
      hostName: 'given',
      deploymentId: `given-${process.pid}`,
      dataDir: join(directory, 'data'),
      runDir: join(directory, 'run'),
    });
  });
  after(async () => {
    if (runtime) await disposeAll(runtime);
    await runtime?.close();
    const gone = new Promise((resolve) => service.once('exit', resolve));
    service.kill();
    await gone;
    rmSync(directory, { recursive: true, force: true });
  });

  it('gives true exit codes and whole logs', async () => {
    const { state, output } = await runToEnd(runtime, { script: 'seq 5000; exit 6' });
    assert.equal(state.exitCode, 6);
    assert.ok(output.endsWith('\n5000\n'));
    assert.ok(state.finishedAt !== null);
  });

  it('does not hide why a job was killed', async () => {
    const hog = 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done';
    const script = `sh -c '${hog}'; exit 0`;
    const { state, verdict } = await runToEnd(runtime, { memoryBytes: 64 * 1024 * 1024, script });
    assert.equal(state.exitCode, 0);
    assert.equal(verdict.oomKilled, true);
  });
});
