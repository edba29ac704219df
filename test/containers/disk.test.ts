import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { finished, startTestPodman, type TestPodman, testSpec } from '../support/podman.ts';

describe('the disk of a job', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  it('is made once by two at the same time: a killed worker’s shell goes on while its successor makes it too', async () => {
    const second = await createPodmanRuntime({
      socketPath: podman.service.socketPath,
      hostName: podman.hostName,
      deploymentId: podman.deploymentId,
      dataDir: join(podman.directory, 'data'),
      runDir: join(podman.directory, 'run'),
    });
    for (let round = 0; round < 5; round += 1) {
      const spec = testSpec({ script: "df -k /artifacts | tail -n 1 | awk '{ print ($2 > 40000) }'" });
      await Promise.all([podman.runtime, second].map((runtime) => runtime.provision(spec)));
      await podman.runtime.create(spec);
      await podman.runtime.start(spec.name);
      const { state, output } = await finished(podman.runtime, spec.name);
      assert.deepEqual([state.exitCode, output], [0, '1\n']);
      await podman.runtime.dispose(spec.name);
      assert.deepEqual(await podman.runtime.leftovers(), []);
    }
    await second.close();
  });
});
