import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import {
  finished,
  leftovers,
  provision,
  startTestPodman,
  type TestPodman,
  testSpec,
} from '../support/podman.ts';

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
      const sandbox = await provision(podman.runtime, spec);
      const same = (await second.sandboxes())[0]?.sandbox;
      assert.equal(same?.id, sandbox.id);
      await same.artifactsPath(); // which makes the disk where it is not there
      await sandbox.bind(spec);
      await sandbox.start();
      const { state, output } = await finished(sandbox);
      assert.deepEqual([state.exitCode, output], [0, '1\n']);
      await sandbox.dispose();
      assert.deepEqual(await leftovers(podman.runtime), []);
    }
    await second.close();
  });

  it('is what it holds of its host’s disk, and so is what it printed as long as that is not read', async () => {
    const spec = testSpec({ script: 'yes | head -c 200000' });
    const sandbox = await provision(podman.runtime, spec);
    await sandbox.bind(spec);
    const held = (): number => podman.runtime.disks()[0]?.bytes ?? 0;
    const before = held();
    await sandbox.start();
    await sandbox.waitForExit(AbortSignal.timeout(60_000));
    const spool = statSync(sandbox.spoolPath).blocks * 512;
    assert.ok(spool > 4_000_000 && held() >= before + spool, `${held()} of ${before} and ${spool}`);
    await sandbox.dispose();
  });
});
