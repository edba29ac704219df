/** One thing that an MCP server can do beside the basics of the protocol. */
import type { Server } from '@modelcontextprotocol/sdk/server/index.js';
import type { ServerCapabilities } from '@modelcontextprotocol/sdk/types.js';
import type { CallToolResult } from '../definition.ts';

/** What the requests of one connection share. */
export interface McpConnectionState {
  readonly server: Server;
  over: boolean;
}

export interface Capability {
  /** What the client is told at the beginning. */
  readonly declares: ServerCapabilities;
  /** Registers its handlers with the server of a new connection. */
  serve(connection: McpConnectionState): void;
}

/** Turns what a tool threw into its result. */
export type ToolError = (error: unknown) => CallToolResult;

export const textOf = (result: CallToolResult): string =>
  result.content.map((block) => (block.type === 'text' ? block.text : '')).join('\n');
