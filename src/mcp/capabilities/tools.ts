import {
  type CallToolRequest,
  CallToolRequestSchema,
  ErrorCode,
  ListToolsRequestSchema,
  McpError,
  type ServerResult,
  type Tool as ToolListing,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { FlashpodsError } from '../../errors.ts';
import { sentenceOf, wrongFields } from '../../wrong-fields.ts';
import { RequestContext } from '../call-context.ts';
import type { CallContext, CallToolResult, Tool } from '../definition.ts';
import { type Capability, textOf, type ToolError } from './capability.ts';

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

/** Lists tools, checks what they are called with and what they answer, and runs them, as tasks where they can. */
export function toolsCapability(tools: readonly Tool[], toolError: ToolError): Capability {
  const byName = new Map(tools.map((each) => [each.name, each]));
  const listing = tools.map(listed);

  async function answer({ params }: CallToolRequest, context: CallContext): Promise<ServerResult> {
    const found = byName.get(params.name);
    if (!found) {
      const known = [...byName.keys()].join(', ');
      throw new McpError(ErrorCode.InvalidParams, `There is no tool ${params.name}. There are: ${known}.`);
    }
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
  }

  return {
    declares: { tools: {} },
    serve(connection) {
      const { server } = connection;
      server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: listing }));
      server.setRequestHandler(CallToolRequestSchema, async (request, extra) =>
        answer(request, new RequestContext(extra, connection)),
      );
    },
  };
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
