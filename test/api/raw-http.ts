/** HTTP by hand, for what no client library would send. */
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

/** Sends the bytes as they are and reads until the server closes or the first whole answer is there. */
export function raw(
  port: number,
  text: string | Buffer,
  options: { halfClose?: boolean } = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(port, '127.0.0.1');
    let received = '';
    const done = (): void => {
      const answer = parse(received);
      if (answer) {
        socket.destroy();
        resolve(answer);
      }
    };
    socket.setTimeout(10_000, () => socket.destroy(new Error(`no whole answer: ${received.slice(0, 200)}`)));
    socket.on('connect', () => (options.halfClose ? socket.end(text) : socket.write(text)));
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      done();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed without a whole answer: ${received.slice(0, 200)}`)));
  });
}

function parse(text: string): RawAnswer | null {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const headers = text.slice(0, end);
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(headers)?.[1]);
  const length = Number(/^content-length: (\d+)$/im.exec(headers)?.[1] ?? 0);
  const body = text.slice(end + 4);
  return body.length < length ? null : { status, headers, body };
}
