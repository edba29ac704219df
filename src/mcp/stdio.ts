import type { Readable, Writable } from 'node:stream';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import { systemCode } from '../errors.ts';
import { IdFinder, INVALID_REQUEST, readMessage, type Refusal, refusalOf, unreadable } from './messages.ts';
import { type ServerDefinition, serveMcp } from './server.ts';

/** One message; a job's request is 1 MB at most. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Serves one client over a pair of streams. Nothing but messages of the protocol is written to `output`.
 * Resolves as soon as the client has gone (its end of either stream is closed) or `stop` is aborted; what was under way
 * is left as it is.
 */
export async function serveStdio(
  definition: ServerDefinition,
  { input, output, stop }: { input: Readable; output: Writable; stop: AbortSignal },
): Promise<void> {
  const over = Promise.withResolvers<void>();
  const end = (): void => over.resolve();
  input.once('end', end).once('close', end).once('error', end);
  output.once('close', end);
  // A client that went away while it was written to; what it did not read it will not miss.
  output.on('error', (error) => (systemCode(error) === undefined ? over.reject(error) : end()));
  stop.addEventListener('abort', end, { once: true });
  if (stop.aborted) end();
  const connection = await serveMcp(definition, new LineTransport(input, output));
  await over.promise;
  await connection.close();
}

/** A message a line. Lines that are none are answered, and so is one that is too long: the next begins behind its end. */
class LineTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
  readonly #input: Readable;
  readonly #output: Writable;
  /** What came of the line so far. */
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** Of a line that is too long only its id is looked for. */
  #tooLong: IdFinder | null = null;

  constructor(input: Readable, output: Writable) {
    this.#input = input;
    this.#output = output;
  }

  async start(): Promise<void> {
    this.#input.on('data', this.#take);
  }

  async close(): Promise<void> {
    this.#input.off('data', this.#take);
    this.#input.pause();
    this.onclose?.();
  }

  async send(message: JSONRPCMessage): Promise<void> {
    await this.#write(message);
  }

  async #write(message: JSONRPCMessage | Refusal): Promise<void> {
    if (this.#output.write(`${JSON.stringify(message)}\n`)) return;
    await new Promise((resolve) => this.#output.once('drain', resolve));
  }

  readonly #take = (chunk: Buffer | string): void => {
    let rest = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    for (;;) {
      const end = rest.indexOf(NEWLINE);
      this.#append(end < 0 ? rest : rest.subarray(0, end));
      if (end < 0) return;
      this.#endLine();
      rest = rest.subarray(end + 1);
    }
  };

  #append(piece: Buffer): void {
    this.#bytes += piece.length;
    if (!this.#tooLong && this.#bytes > MAX_MESSAGE_BYTES) {
      this.#tooLong = new IdFinder();
      for (const each of this.#pieces) this.#tooLong.feed(each);
      this.#pieces = [];
    }
    if (this.#tooLong) this.#tooLong.feed(piece);
    else this.#pieces.push(piece);
  }

  #endLine(): void {
    const [line, tooLong] = [Buffer.concat(this.#pieces), this.#tooLong];
    this.#pieces = [];
    this.#bytes = 0;
    this.#tooLong = null;
    if (tooLong) {
      const limit = `A message has at most ${MAX_MESSAGE_BYTES >> 20} MB: send files with \`files\`, not in the arguments.`;
      void this.#write(refusalOf(tooLong.id, INVALID_REQUEST, limit));
    } else if (line.some((byte) => byte > 0x20)) {
      this.#read(line);
    }
  }

  #read(line: Buffer): void {
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
    } catch {
      void this.#write(unreadable(line));
      return;
    }
    // Each request of a batch is answered by itself.
    const messages: readonly unknown[] = Array.isArray(value) && value.length > 0 ? value : [value];
    for (const each of messages) {
      const read = readMessage(each);
      if (read.kind === 'message') this.onmessage?.(read.message);
      else if (read.kind === 'refused') void this.#write(read.refusal);
    }
  }
}
