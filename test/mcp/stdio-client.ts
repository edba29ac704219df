/** An agent's end of `flashpods mcp`: the SDK's client on a real process. */
import { pathToFileURL } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import {
  type CallToolResult,
  ListRootsRequestSchema,
  type Progress,
} from '@modelcontextprotocol/sdk/types.js';

export const COMMAND = new URL('../../bin/flashpods.ts', import.meta.url).pathname;

export interface Agent {
  readonly client: Client;
  readonly pid: number;
  call(name: string, args?: object, options?: CallOptions): Promise<Called>;
  close(): Promise<void>;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeout?: number;
  readonly onprogress?: (progress: Progress) => void;
}

export interface Called {
  readonly isError: boolean;
  readonly text: string;
  readonly content: CallToolResult['content'];
  readonly structured: Readonly<Record<string, unknown>>;
}

export interface AgentOptions {
  /** Directories that its person opened; left out, the client tells none. */
  readonly roots?: readonly string[];
  readonly cwd?: string;
  /** Of `flashpods mcp`. */
  readonly args?: readonly string[];
}

/** @param env beside PATH; HOME should be a directory of the test's own */
export async function startAgent(
  env: Record<string, string>,
  { roots, cwd, args = [] }: AgentOptions = {},
): Promise<Agent> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [COMMAND, 'mcp', ...args],
    env: { PATH: process.env['PATH'] ?? '', ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
  const client = new Client({ name: 'test', version: '1' }, roots ? { capabilities: { roots: {} } } : {});
  if (roots)
    client.setRequestHandler(ListRootsRequestSchema, () => ({
      roots: roots.map((root) => ({ uri: pathToFileURL(root).href })),
    }));
  await client.connect(transport);
  return {
    client,
    pid: transport.pid ?? 0,
    async call(name, args = {}, options = {}) {
      const result = (await client.callTool(
        { name, arguments: { ...args } },
        undefined,
        options,
      )) as CallToolResult;
      const text = result.content.map((block) => (block.type === 'text' ? block.text : '')).join('\n');
      const { content, structuredContent: structured = {} } = result;
      return { isError: result.isError === true, text, content, structured };
    },
    close: () => client.close(),
  };
}
