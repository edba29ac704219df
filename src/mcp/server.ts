/** One client, one transport: what the definition offers, by the protocol's own server. */
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { jsonSchemaValidator } from '@modelcontextprotocol/sdk/validation';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import { VERSION } from '../version.ts';
import type { Capability, McpConnectionState } from './capabilities/capability.ts';

export interface ServerDefinition {
  readonly instructions?: string;
  readonly capabilities: readonly Capability[];
  /** Releases what the definition holds, when its connection is over. */
  close?(): void;
}

export interface McpConnection {
  /** Ends it; what was under way hears of it by its signal. */
  close(): Promise<void>;
}

/** Made when it is needed, which is hardly ever: one for each session costs 15 kB. */
const VALIDATOR: jsonSchemaValidator = {
  getValidator: (schema) => new AjvJsonSchemaValidator().getValidator(schema),
};

/** Serves one client over one transport until either closes. */
export async function serveMcp(definition: ServerDefinition, transport: Transport): Promise<McpConnection> {
  const { instructions, capabilities } = definition;
  const server = new Server(
    { name: 'flashpods', title: 'Flashpods', version: VERSION },
    { jsonSchemaValidator: VALIDATOR, ...(instructions === undefined ? {} : { instructions }) },
  );
  const connection: McpConnectionState = { server, over: false };
  for (const { declares } of capabilities) server.registerCapabilities(declares);
  for (const capability of capabilities) capability.serve(connection);

  // Before the protocol's own: a call aborted by the end of the connection has to find it over.
  transport.onclose = () => {
    connection.over = true;
    definition.close?.();
  };
  await server.connect(transport);
  return { close: () => server.close() };
}
