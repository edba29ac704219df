import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { after, before, describe, it } from 'mocha';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { containerName } from '../../src/ids.ts';
import { eventually } from '../support/eventually.ts';
import { finished, provision, startTestPodman, type TestPodman, testSpec } from '../support/podman.ts';

describe('a container that Podman’s service died over while the OCI runtime made it', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  /** Whether the OCI runtime is making this container now. */
  const isBeingMade = (id: string): boolean =>
    readdirSync('/proc').some((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return /(runc|crun)$/.test(words[0] ?? '') && words.includes('create') && words.includes(id);
      } catch {
        return false; // it has ended while we looked
      }
    });
  /** What the OCI runtime says of the container; null when it has none. */
  const statusOf = async (id: string): Promise<string | null> => {
    const asked = await execa(podman.service.ociRuntime, ['state', id], { reject: false });
    return asked.exitCode === 0 ? (JSON.parse(asked.stdout) as { status: string }).status : null;
  };
  /** Stops the service while the runtime works, waits for that, and kills it. @returns whether that came in time */
  const interrupt = async (id: string, over: () => boolean): Promise<boolean> => {
    while (!isBeingMade(id)) {
      if (over()) return false;
      await new Promise(setImmediate);
    }
    const { pid } = podman.service;
    assert.ok(pid !== null);
    process.kill(pid, 'SIGSTOP');
    const status = await eventually('the runtime has made it', () => statusOf(id));
    process.kill(pid, 'SIGKILL');
    return status === 'created';
  };

  it('is made anew and started once', async () => {
    const { runtime } = podman;
    let caught = false;
    for (let attempt = 0; attempt < 10 && !caught; attempt += 1) {
      const spec = testSpec({ script: 'echo begun; exit 7' });
      const sandbox = await provision(runtime, spec);
      const id = await sandbox.bind(spec);
      let started = false;
      const interrupted = interrupt(id, () => started);
      while (!started) {
        try {
          await sandbox.start();
          started = true;
        } catch (error) {
          if (!(error instanceof FlashpodsError && error.code === 'container_error')) throw error;
          await delay(100);
        }
      }
      caught = await interrupted;
      const { state, output } = await finished(sandbox);
      assert.deepEqual([state.exitCode, output], [7, 'begun\n']);
      await sandbox.dispose();
    }
    assert.ok(caught, 'the service died between the two');
  });
});

describe('a container that began while Podman’s service died', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  /** What the service leaves when it dies between the runtime's start and its own note of it. */
  const beginUnseen = async (script: string): Promise<Sandbox> => {
    const { runtime } = podman;
    const spec = testSpec({ script });
    const sandbox = await provision(runtime, spec);
    const id = await sandbox.bind(spec);
    await sandbox.artifactsPath(); // as `start` does, all that the container needs is mounted by then
    const client = new PodmanClient(podman.service.socketPath);
    await client.call('POST', `/containers/${containerName(spec.jobId, spec.epoch)}/init`);
    client.close();
    await execa(podman.service.ociRuntime, ['start', id]);
    return sandbox;
  };

  it('is followed to its end: running, then its true exit code, and no second start', async () => {
    const sandbox = await beginUnseen(
      'while [ ! -e /artifacts/go ]; do sleep 0.01; done; echo begun; exit 7',
    );
    assert.equal((await sandbox.inspect())?.phase, 'running');
    await sandbox.start().catch(() => undefined); // the first attempt of a process knows of no other
    await sandbox.start();
    writeFileSync(join(await sandbox.artifactsPath(), 'go'), '');
    const { state, output } = await finished(sandbox);
    assert.deepEqual([state.phase, state.exitCode, output], ['exited', 7, 'begun\n']);
    assert.ok(state.finishedAt !== null, 'so a restarted worker settles it');
    await sandbox.start();
    assert.equal((await sandbox.inspect())?.exitCode, 7, 'it was not run again');
    await sandbox.dispose();
  });

  it('and ended before anybody looked has its exit code', async () => {
    const sandbox = await beginUnseen('exit 5');
    const state = await eventually('it has ended', async () => {
      const now = await sandbox.inspect();
      return now?.phase === 'exited' ? now : null;
    });
    assert.equal(state.exitCode, 5);
    await sandbox.dispose();
  });
});
