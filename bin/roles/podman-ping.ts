/** Tells processes that may not reach Podman's socket, which is as much as root, whether Podman answers. */
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { once as happened } from 'node:events';
import { join } from 'node:path';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import type { StopSteps } from '../../src/lifecycle/stop-in-order.ts';

const PATIENCE_MS = 1_000;

/** @returns the socket that answers in the place of `podmanSocket`, to a ping alone */
export async function answerPings(podmanSocket: string, runPath: string, steps: StopSteps): Promise<string> {
  const path = join(runPath, 'podman-ping.sock');
  const podman = new PodmanClient(podmanSocket);
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url?.endsWith('/_ping') !== true) {
      response.writeHead(404).end();
      return;
    }
    void podman.answers(PATIENCE_MS).then((answers) => {
      response.writeHead(answers ? 200 : 503).end(answers ? 'OK' : '');
    });
  });
  rmSync(path, { force: true });
  server.listen(path);
  await happened(server, 'listening');
  steps.unshift([
    'podman ping',
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        podman.close();
      }),
  ]);
  return path;
}
