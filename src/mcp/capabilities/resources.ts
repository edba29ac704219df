import type { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { UriTemplate } from '@modelcontextprotocol/sdk/shared/uriTemplate.js';
import {
  ErrorCode,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  McpError,
  ReadResourceRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { ClientError } from '../../client/client-error.ts';
import { FlashpodsError } from '../../errors.ts';
import type { ResourceContents, Resources } from '../definition.ts';
import { type Capability, textOf, type ToolError } from './capability.ts';
import type { Completer } from './completion.ts';

const RESOURCE_NOT_FOUND = -32002;

export const resourcesCapability = (resources: Resources, toolError: ToolError): Capability => ({
  declares: { resources: {} },
  serve: ({ server }) => serveResources(resources, toolError, server),
});

export const completerOf =
  ({ templates }: Resources): Completer =>
  (ref, argument) =>
    ref.type === 'ref/resource'
      ? templates.find(({ uriTemplate }) => uriTemplate === ref.uri)?.complete?.[argument]
      : undefined;

function serveResources(resources: Resources, toolError: ToolError, server: Server): void {
  const translated = async <T>(uri: string, work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw resourceError(uri, error, toolError);
    });
  const templates = resources.templates.map((template) => ({
    template,
    pattern: new UriTemplate(template.uriTemplate),
  }));
  server.setRequestHandler(ListResourcesRequestSchema, async (_request, { signal }) => ({
    resources: [...(await translated('', resources.list(signal)))],
  }));
  server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({
    resourceTemplates: resources.templates.map(({ uriTemplate, name, title, description, mimeType }) => ({
      uriTemplate,
      name,
      description,
      ...(title === undefined ? {} : { title }),
      ...(mimeType === undefined ? {} : { mimeType }),
    })),
  }));

  async function read(uri: string, signal: AbortSignal): Promise<ResourceContents | null> {
    const found = await resources.read(uri, signal);
    if (found) return found;
    for (const { template, pattern } of templates) {
      const variables = pattern.match(uri);
      if (variables) return template.read(uri, firstOf(variables), signal);
    }
    return null;
  }
  server.setRequestHandler(ReadResourceRequestSchema, async ({ params: { uri } }, { signal }) => {
    const contents = await translated(uri, read(uri, signal));
    if (contents) return { contents: [contents] };
    throw new McpError(RESOURCE_NOT_FOUND, `There is no resource ${uri}.`, { uri });
  });
}

const firstOf = (variables: Readonly<Record<string, string | string[]>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [
      name,
      decode(typeof value === 'string' ? value : (value[0] ?? '')),
    ]),
  );

function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // a stray percent sign: it stands for itself
  }
}

/** Resources have no errors of their own beside the protocol's: what a tool would say goes into the message. */
function resourceError(uri: string, error: unknown, toolError: ToolError): unknown {
  if (!(error instanceof ClientError || error instanceof FlashpodsError)) return error;
  const { code, status } = error;
  const number = status === 404 || status === 410 ? RESOURCE_NOT_FOUND : ErrorCode.InternalError;
  return new McpError(number, textOf(toolError(error)), { uri, code });
}
