/** The protocol side of a {@link ServerDefinition}: capabilities, handlers, checks of input and output. */
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { UriTemplate } from '@modelcontextprotocol/sdk/shared/uriTemplate.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { jsonSchemaValidator } from '@modelcontextprotocol/sdk/validation';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import {
  CallToolRequestSchema,
  CancelTaskRequestSchema,
  CompleteRequestSchema,
  ErrorCode,
  GetPromptRequestSchema,
  GetTaskPayloadRequestSchema,
  GetTaskRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListTasksRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  RELATED_TASK_META_KEY,
  type ServerCapabilities,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  type Tool as ToolListing,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { ClientError } from '../client/client-error.ts';
import { FlashpodsError } from '../errors.ts';
import { sentenceOf, wrongFields } from '../wrong-fields.ts';
import { VERSION } from '../version.ts';
import { type ConnectionState, type Extra, RequestContext } from './call-context.ts';
import type {
  CallToolResult,
  Complete,
  Prompt,
  ResourceContents,
  Resources,
  ServerDefinition,
  TaskKeeper,
  Tool,
} from './definition.ts';

/** The MCP specification lets completion answer with at most so many. */
const MAX_COMPLETIONS = 100;
const RESOURCE_NOT_FOUND = -32002;

/** Made when it is needed, which is hardly ever: one for each session costs 15 kB. */
const VALIDATOR: jsonSchemaValidator = {
  getValidator: (schema) => new AjvJsonSchemaValidator().getValidator(schema),
};

export interface McpConnection {
  /** Ends it; what was under way hears of it by its signal. */
  close(): Promise<void>;
}

/** Serves one client over one transport until either closes. */
export async function serveMcp(definition: ServerDefinition, transport: Transport): Promise<McpConnection> {
  const server = new Server(
    { name: 'flashpods', title: 'Flashpods', version: VERSION },
    {
      capabilities: capabilitiesOf(definition),
      jsonSchemaValidator: VALIDATOR,
      ...(definition.instructions === undefined ? {} : { instructions: definition.instructions }),
    },
  );
  const connection: ConnectionState = { server, over: false, minimumLevel: 'info' };
  server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
    connection.minimumLevel = params.level;
    return {};
  });
  handleTools(definition, connection);
  const endSubscriptions = definition.resources
    ? handleResources(definition.resources, definition.toolError, server)
    : null;
  if (definition.prompts) handlePrompts(definition.prompts, server);
  if (completes(definition)) handleCompletion(definition, server);
  if (definition.tasks) handleTasks(definition.tasks, connection);

  // Before the protocol's own: whoever is aborted by the end of the connection has to find it over.
  transport.onclose = () => {
    connection.over = true;
    endSubscriptions?.();
    definition.close?.();
  };
  await server.connect(transport);
  return { close: () => server.close() };
}

/** Whether anything of it can be completed. */
const completes = ({ resources, prompts }: ServerDefinition): boolean =>
  resources?.templates.some(({ complete }) => complete !== undefined) === true ||
  prompts?.some((prompt) => prompt.arguments.some(({ complete }) => complete !== undefined)) === true;

function capabilitiesOf(definition: ServerDefinition): ServerCapabilities {
  const { resources, prompts, tasks, tools } = definition;
  return {
    logging: {},
    ...(tools.length > 0 ? { tools: {} } : {}),
    ...(resources ? { resources: resources.subscribe ? { subscribe: true } : {} } : {}),
    ...(prompts ? { prompts: {} } : {}),
    ...(completes(definition) ? { completions: {} } : {}),
    ...(tasks ? { tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } } : {}),
  };
}

const jsonSchemas = {
  input: new WeakMap<z.ZodObject, ToolListing['inputSchema']>(),
  output: new WeakMap<z.ZodObject, ToolListing['inputSchema']>(),
};

/** JSON Schema 2020-12, which is what the protocol takes when nothing else is said. Sessions share it. */
function jsonSchema(schema: z.ZodObject, io: 'input' | 'output'): ToolListing['inputSchema'] {
  const known = jsonSchemas[io].get(schema);
  if (known) return known;
  const made = z.toJSONSchema(schema, { io, target: 'draft-2020-12' }) as ToolListing['inputSchema'];
  jsonSchemas[io].set(schema, made);
  return made;
}

const listed = ({ name, title, description, input, output, annotations, ...rest }: Tool): ToolListing => ({
  name,
  description,
  inputSchema: jsonSchema(input, 'input'),
  ...(title === undefined ? {} : { title }),
  ...(output === undefined ? {} : { outputSchema: jsonSchema(output, 'output') }),
  ...(annotations === undefined ? {} : { annotations }),
  ...(rest.start === undefined ? {} : { execution: { taskSupport: 'optional' as const } }),
});

function handleTools({ tools, toolError }: ServerDefinition, connection: ConnectionState): void {
  if (tools.length === 0) return;
  const { server } = connection;
  const byName = new Map(tools.map((each) => [each.name, each]));
  const listing = tools.map(listed);
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: listing }));
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    const found = byName.get(params.name);
    if (!found) {
      const known = [...byName.keys()].join(', ');
      throw new McpError(ErrorCode.InvalidParams, `There is no tool ${params.name}. There are: ${known}.`);
    }
    const context = new RequestContext(extra, connection);
    if (params.task !== undefined) {
      if (!found.start) throw new McpError(ErrorCode.MethodNotFound, `${found.name} does not run as a task.`);
      try {
        return { task: await found.start(inputOf(found, params.arguments), context) };
      } catch (error) {
        // The protocol has no tool error beside a task: this is the error of the request.
        throw new McpError(ErrorCode.InvalidParams, textOf(toolError(error)));
      }
    }
    try {
      return checked(found, await found.call(inputOf(found, params.arguments), context));
    } catch (error) {
      return toolError(error);
    }
  });
}

/** @throws FlashpodsError invalid_request that names every wrong argument */
function inputOf({ name, input }: Tool, given: unknown): Readonly<Record<string, unknown>> {
  const parsed = input.safeParse(given ?? {});
  if (parsed.success) return parsed.data;
  const problems = sentenceOf(wrongFields(parsed.error.issues, 'the arguments'));
  throw new FlashpodsError('invalid_request', `${name} was called with wrong arguments: ${problems}.`);
}

/** @throws Error, a mistake of ours, when the answer is not what was promised */
function checked({ name, output }: Tool, result: CallToolResult): CallToolResult {
  if (!output || result.isError === true) return result;
  const parsed = output.safeParse(result.structuredContent);
  if (parsed.success) return result;
  throw new Error(`${name} answered what its schema does not hold: ${parsed.error.message}`);
}

const textOf = (result: CallToolResult): string =>
  result.content.map((block) => (block.type === 'text' ? block.text : '')).join('\n');

/** @returns how to end all subscriptions */
function handleResources(
  resources: Resources,
  toolError: ServerDefinition['toolError'],
  server: Server,
): () => void {
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

  const subscriptions = new Map<string, () => void>();
  if (resources.subscribe) {
    server.setRequestHandler(SubscribeRequestSchema, ({ params: { uri } }) => {
      subscriptions.get(uri)?.();
      // A client that has gone meanwhile is told nothing.
      const changed = (): void => void server.sendResourceUpdated({ uri }).catch(() => undefined);
      const end = resources.subscribe?.(uri, changed);
      if (end) subscriptions.set(uri, end);
      return {};
    });
    server.setRequestHandler(UnsubscribeRequestSchema, ({ params: { uri } }) => {
      subscriptions.get(uri)?.();
      subscriptions.delete(uri);
      return {};
    });
  }
  return () => {
    for (const end of subscriptions.values()) end();
    subscriptions.clear();
  };
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
function resourceError(uri: string, error: unknown, toolError: ServerDefinition['toolError']): unknown {
  if (!(error instanceof ClientError || error instanceof FlashpodsError)) return error;
  const { code, status } = error;
  const number = status === 404 || status === 410 ? RESOURCE_NOT_FOUND : ErrorCode.InternalError;
  return new McpError(number, textOf(toolError(error)), { uri, code });
}

function handlePrompts(prompts: readonly Prompt[], server: Server): void {
  const byName = new Map(prompts.map((prompt) => [prompt.name, prompt]));
  server.setRequestHandler(ListPromptsRequestSchema, () => ({
    prompts: prompts.map((prompt) => ({
      name: prompt.name,
      description: prompt.description,
      ...(prompt.title === undefined ? {} : { title: prompt.title }),
      arguments: prompt.arguments.map(({ name, description, required }) => ({ name, description, required })),
    })),
  }));
  server.setRequestHandler(GetPromptRequestSchema, async ({ params }) => {
    const prompt = byName.get(params.name);
    if (!prompt) throw new McpError(ErrorCode.InvalidParams, `There is no prompt ${params.name}.`);
    const given = params.arguments ?? {};
    const missing = prompt.arguments.filter(({ name, required }) => required && given[name] === undefined);
    if (missing.length === 0) return prompt.get(given);
    const names = missing.map(({ name }) => name).join(', ');
    throw new McpError(ErrorCode.InvalidParams, `The prompt ${prompt.name} lacks ${names}.`);
  });
}

function handleCompletion({ prompts, resources }: ServerDefinition, server: Server): void {
  server.setRequestHandler(CompleteRequestSchema, async ({ params: { ref, argument, context } }) => {
    const complete: Complete | undefined =
      ref.type === 'ref/prompt'
        ? prompts?.find(({ name }) => name === ref.name)?.arguments.find(({ name }) => name === argument.name)
            ?.complete
        : resources?.templates.find(({ uriTemplate }) => uriTemplate === ref.uri)?.complete?.[argument.name];
    const values = complete ? await complete(argument.value, context?.arguments ?? {}) : [];
    const hasMore = values.length > MAX_COMPLETIONS;
    return { completion: { values: values.slice(0, MAX_COMPLETIONS), total: values.length, hasMore } };
  });
}

function handleTasks(tasks: TaskKeeper, connection: ConnectionState): void {
  const { server } = connection;
  const unknown = (id: string): McpError => new McpError(ErrorCode.InvalidParams, `There is no task ${id}.`);
  server.setRequestHandler(GetTaskRequestSchema, async ({ params: { taskId } }) => {
    const task = await tasks.get(taskId);
    if (!task) throw unknown(taskId);
    return task;
  });
  server.setRequestHandler(GetTaskPayloadRequestSchema, async ({ params: { taskId } }, extra: Extra) => {
    const result = await tasks.result(taskId, new RequestContext(extra, connection));
    if (!result) throw unknown(taskId);
    return { ...result, _meta: { ...result._meta, [RELATED_TASK_META_KEY]: { taskId } } };
  });
  server.setRequestHandler(ListTasksRequestSchema, async ({ params }) => tasks.list(params?.cursor));
  server.setRequestHandler(CancelTaskRequestSchema, async ({ params: { taskId } }) => {
    const outcome = await tasks.cancel(taskId);
    if (!outcome) throw unknown(taskId);
    if (!outcome.hadEnded) return outcome.task;
    throw new McpError(
      ErrorCode.InvalidParams,
      `The task ${taskId} has ended already: ${outcome.task.status}.`,
    );
  });
}
