import assert from 'node:assert/strict';
import { createConnection, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { leftovers, finished, launch, startTestPodman, type TestPodman } from '../support/podman.ts';

/** As Podman 4.3 has been seen to say, once in some thousand containers; nothing brings it about at will. */
const BUSY = JSON.stringify({
  cause: 'device or resource busy',
  message: 'removing container root filesystem: unlinkat userdata/shm: device or resource busy',
  response: 500,
});
const REFUSAL = `HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: ${BUSY.length}\r\n\r\n${BUSY}`;

describe('a container whose files the kernel still holds when it is removed', () => {
  let podman: TestPodman;
  let relay: Server;
  let socketPath: string;
  let refusalsLeft = 0;
  before(async () => {
    podman = await startTestPodman();
    socketPath = join(podman.directory, 'relay.sock');
    relay = createServer((near) => {
      const far = createConnection(podman.service.socketPath);
      near.on('data', (bytes: Buffer) => {
        if (bytes.toString('latin1').startsWith('DELETE ') && refusalsLeft > 0) {
          refusalsLeft -= 1;
          near.write(REFUSAL);
        } else far.write(bytes);
      });
      far.on('data', (bytes) => near.write(bytes));
      far.on('end', () => near.end());
      near.on('end', () => far.end());
      for (const side of [near, far]) side.on('error', () => [near, far].forEach((each) => each.destroy()));
    });
    await new Promise<void>((resolve) => relay.listen(socketPath, resolve));
  });
  after(async () => {
    await podman.end();
    relay.close();
  });

  it('is removed once the kernel has let go', async () => {
    const runtime = await createPodmanRuntime({
      socketPath,
      hostName: podman.hostName,
      deploymentId: podman.deploymentId,
      dataDir: join(podman.directory, 'relayed'),
      runDir: join(podman.directory, 'run-relayed'),
    });
    const sandbox = await launch(runtime, { script: 'exit 3' });
    assert.equal((await finished(sandbox)).state.exitCode, 3);
    refusalsLeft = 3;
    await sandbox.dispose();
    assert.equal(refusalsLeft, 0);
    assert.deepEqual(await leftovers(runtime), []);
    await runtime.close();
  });
});
