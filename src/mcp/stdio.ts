import type { Readable, Writable } from 'node:stream';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { ClientError } from '../client/client-error.ts';
import { systemCode } from '../errors.ts';
import { type ServerDefinition, serveMcp } from './server.ts';

/** One message; a job's request is 1 MB at most. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/**
 * Serves one client over a pair of streams. Nothing but messages of the protocol is written to `output`.
 * Resolves as soon as the client has gone (its end of either stream is closed) or `stop` is aborted; what was under way
 * is left as it is.
 * @throws ClientError payload_too_large when the client sent a message beyond the limit: what follows it can't be told apart
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
  const transport = new StdioServerTransport(input, output, { maxBufferSize: MAX_MESSAGE_BYTES });
  const connection = await serveMcp(definition, transport);
  const closed = transport.onclose;
  // Nobody has closed it yet: it gives up by itself when its buffer is full, and reads no more, not even the end.
  transport.onclose = () => {
    closed?.();
    over.reject(
      new ClientError(
        'payload_too_large',
        `The client sent a message of more than ${MAX_MESSAGE_BYTES >> 20} MB.`,
        { advice: 'Send files with `files`, not in the arguments.' },
      ),
    );
  };
  await over.promise;
  await connection.close();
}
