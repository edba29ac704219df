/**
 * Sends `POST /jobs` at a fixed rate, answered or not, and times each from the moment at which it was to be
 * sent: a server that stalls is charged for all that it kept waiting. A process of its own, with as little HTTP as
 * the task needs, since it takes cpu from the server that it measures.
 *
 *   node bench/scale/open-loop.ts '{"url":…,"token":…,"perSecond":1000,"seconds":30,"request":{…}}'
 *
 * Prints one JSON object, an {@link OpenLoopResult}.
 */
import { createConnection, type Socket } from 'node:net';
import { pathToFileURL } from 'node:url';

export interface OpenLoopOptions {
  readonly url: string;
  readonly token: string;
  readonly perSecond: number;
  readonly seconds: number;
  readonly request: Readonly<Record<string, unknown>>;
}

export interface OpenLoopResult {
  readonly sent: number;
  /** Answers by their status; 0 is a connection that broke. */
  readonly statuses: Readonly<Record<string, number>>;
  /** From the planned time of sending to the last byte of the answer, ms; of answers 201, in no order. */
  readonly latenciesMs: readonly number[];
  /** Of this process while it sent, share of one core. */
  readonly cpu: number;
}

/** More than are ever under way below the target; beyond it they wait here, and that counts. */
const MAX_CONNECTIONS = 1_000;
const GIVE_UP_MS = 30_000;

class Connection {
  readonly #socket: Socket;
  #onAnswer: ((status: number) => void) | null = null;
  #received = '';

  constructor(host: string, port: number, onClosed: (connection: Connection) => void) {
    this.#socket = createConnection({ host, port, noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => this.#take(text));
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      this.#settle(0);
      onClosed(this);
    });
  }

  send(message: string, onAnswer: (status: number) => void): void {
    this.#onAnswer = onAnswer;
    this.#socket.write(message, 'latin1');
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    this.#received = this.#received === '' ? text : this.#received + text;
    const head = this.#received.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#received.slice(0, head))?.[1] ?? 0);
    if (this.#received.length < head + 4 + length) return;
    const status = Number(this.#received.slice(9, 12));
    this.#received = '';
    this.#settle(status);
  }

  #settle(status: number): void {
    const onAnswer = this.#onAnswer;
    this.#onAnswer = null;
    onAnswer?.(status);
  }
}

export async function sendOpenLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const { hostname, port, host } = new URL(options.url);
  const body = JSON.stringify(options.request);
  const message =
    `POST /jobs HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${options.token}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const total = options.perSecond * options.seconds;
  const idle: Connection[] = [];
  const connections = new Set<Connection>();
  const waiting: number[] = [];
  const latenciesMs: number[] = [];
  const statuses: Record<string, number> = {};
  const cpuBefore = process.cpuUsage();
  const begun = performance.now();
  let planned = 0;
  let answered = 0;

  function send(connection: Connection, dueAt: number): void {
    connection.send(message, (status) => {
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status === 201) latenciesMs.push(performance.now() - dueAt);
      answered += 1;
      const next = waiting.shift();
      if (next !== undefined && status !== 0) send(connection, next);
      else if (status !== 0) idle.push(connection);
    });
  }

  function due(dueAt: number): void {
    let connection = idle.pop();
    if (!connection && connections.size < MAX_CONNECTIONS) {
      connection = new Connection(hostname, Number(port), (closed) => connections.delete(closed));
      connections.add(connection);
    }
    if (connection) send(connection, dueAt);
    else waiting.push(dueAt);
  }

  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const now = performance.now();
      while (planned < total && begun + (planned * 1_000) / options.perSecond <= now) {
        due(begun + (planned * 1_000) / options.perSecond);
        planned += 1;
      }
      const late = now - begun > options.seconds * 1_000 + GIVE_UP_MS;
      if (answered < total && !late) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
  const { user, system } = process.cpuUsage(cpuBefore);
  const cpu = (user + system) / 1_000 / (performance.now() - begun);
  for (const connection of connections) connection.end();
  return { sent: planned, statuses, latenciesMs, cpu };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const options = JSON.parse(process.argv[2] ?? '{}') as OpenLoopOptions;
  process.stdout.write(`${JSON.stringify(await sendOpenLoop(options))}\n`);
}
