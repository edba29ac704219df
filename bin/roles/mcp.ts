/** The MCP server of a person's machine, for agents that speak to it over stdin and stdout. */
import type { EventEmitter } from 'node:events';
import type { ConnectionFlags } from '../../src/client/connection.ts';
import { loadClientEnvironment } from '../../src/client/environment.ts';
import { HttpBackend } from '../../src/mcp/http-backend.ts';
import { flashpodsServer } from '../../src/mcp/product.ts';
import { serveStdio } from '../../src/mcp/stdio.ts';

/** Runs until the client has gone, or a signal. Where the server is may be unknown yet: tools say so when they are called. */
export async function runMcp(
  { root = [], ...flags }: ConnectionFlags & { readonly root?: readonly string[] },
  interrupts: EventEmitter<{ interrupt: [] }>,
): Promise<number> {
  const stop = new AbortController();
  interrupts.once('interrupt', () => stop.abort());
  const backend = new HttpBackend(flags, loadClientEnvironment(process.env), root);
  const definition = await flashpodsServer(backend, backend);
  await serveStdio(definition, { input: process.stdin, output: process.stdout, stop: stop.signal });
  return 0;
}
