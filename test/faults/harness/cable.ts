/** The way of one process to a server behind a unix socket, which a test can cut. */
import { rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export class Cable {
  readonly path: string;
  readonly #to: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  private constructor(path: string, to: string) {
    this.path = path;
    this.#to = to;
  }

  /** @param to path of the server's socket @param path of the socket that the process is to use instead */
  static async lay(to: string, path: string): Promise<Cable> {
    const cable = new Cable(path, to);
    await cable.mend();
    return cable;
  }

  get url(): string {
    return `unix://${this.path}`;
  }

  /** Ends every connection; new ones are refused. */
  cut(): void {
    this.#server?.close();
    this.#server = undefined;
    rmSync(this.path, { force: true });
    for (const socket of this.#sockets) socket.destroy();
  }

  async mend(): Promise<void> {
    if (this.#server) return;
    const server = createServer((near) => {
      const far = createConnection(this.#to);
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined); // the end of one side, which `close` tells
        socket.on('close', () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.path, resolve));
  }
}
