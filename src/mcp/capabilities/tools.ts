import {
  type CallToolRequest,
  CallToolRequestSchema,
  ErrorCode,
  ListToolsRequestSchema,
  McpError,
  type ServerResult,
  type Tool as ToolListing,
} from '@modelcontextprotocol/sdk/types.js';
import type { z } from 'zod';
import { FlashpodsError } from '../../errors.ts';
import { isRecord } from '../../is-record.ts';
import { sentenceOf, wrongFields } from '../../wrong-fields.ts';
import { RequestContext } from '../call-context.ts';
import type { CallContext, CallToolResult, Tool } from '../definition.ts';
import { inputSchemaOf, type ObjectSchema, outputSchemaOf, wholeSchema } from '../plain-schema.ts';
import { takeArguments } from '../tolerant-arguments.ts';
import { type Capability, textOf, type ToolError } from './capability.ts';

type ListedSchema = ToolListing['inputSchema'];

// Sessions share them.
const inputSchemas = new WeakMap<z.ZodObject, ObjectSchema>();
const outputSchemas = new WeakMap<z.ZodObject, ObjectSchema>();
const wholeSchemas = new WeakMap<z.ZodObject, ObjectSchema>();

function once<T>(known: WeakMap<z.ZodObject, T>, schema: z.ZodObject, make: (schema: z.ZodObject) => T): T {
  const made = known.get(schema) ?? make(schema);
  known.set(schema, made);
  return made;
}

const listed = (
  { name, title, description, input, output, annotations, ...rest }: Tool,
  isPlain: boolean,
): ToolListing => ({
  name,
  description,
  inputSchema: (isPlain
    ? once(inputSchemas, input, inputSchemaOf)
    : once(wholeSchemas, input, wholeSchema)) as ListedSchema,
  ...(title === undefined ? {} : { title }),
  ...(output === undefined
    ? {}
    : { outputSchema: once(outputSchemas, output, outputSchemaOf) as ListedSchema }),
  // The title stands beside them.
  ...(annotations === undefined ? {} : { annotations: { ...annotations, title: undefined } }),
  ...(rest.start === undefined ? {} : { execution: { taskSupport: 'optional' as const } }),
});

/**
 * Lists tools, checks what they are called with and what they answer, and runs them, as tasks where they can.
 * @param isPlain whether schemas are listed as every client takes them, or whole
 */
export function toolsCapability(
  tools: readonly Tool[],
  toolError: ToolError,
  { isPlain = true }: { readonly isPlain?: boolean } = {},
): Capability {
  const byName = new Map(tools.map((each) => [each.name, each]));
  const listing = tools.map((each) => listed(each, isPlain));

  async function answer({ params }: CallToolRequest, context: CallContext): Promise<ServerResult> {
    const found = byName.get(params.name);
    if (!found) {
      const known = [...byName.keys()].join(', ');
      throw new McpError(ErrorCode.InvalidParams, `There is no tool ${params.name}. There are: ${known}.`);
    }
    if (params.task !== undefined) {
      if (!found.start) throw new McpError(ErrorCode.MethodNotFound, `${found.name} does not run as a task.`);
      try {
        return { task: await found.start(inputOf(found, params.arguments).args, context) };
      } catch (error) {
        // The protocol has no tool error beside a task: this is the error of the request.
        throw new McpError(ErrorCode.InvalidParams, textOf(toolError(error)));
      }
    }
    try {
      const { args, notes } = inputOf(found, params.arguments);
      return withNotes(checked(found, await found.call(args, context)), notes);
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

interface Input {
  readonly args: Readonly<Record<string, unknown>>;
  /** What was taken otherwise than it was given. */
  readonly notes: readonly string[];
}

/** @throws FlashpodsError invalid_request that names every wrong argument */
function inputOf({ name, input, notHere = {} }: Tool, given: unknown): Input {
  for (const [argument, why] of Object.entries(notHere)) {
    if (isRecord(given) && (given[argument] ?? null) !== null)
      throw new FlashpodsError('invalid_request', `${name} takes no \`${argument}\` here: ${why}`);
  }
  const { args, notes } = takeArguments(once(wholeSchemas, input, wholeSchema), given);
  const parsed = input.safeParse(args);
  if (parsed.success) return { args: parsed.data, notes };
  const problems = [sentenceOf(wrongFields(parsed.error.issues, 'the arguments')), ...notes].join('. ');
  throw new FlashpodsError('invalid_request', `${name} was called with wrong arguments: ${problems}`);
}

function withNotes(result: CallToolResult, notes: readonly string[]): CallToolResult {
  if (notes.length === 0) return result;
  const [first, ...others] = result.content;
  const told = { type: 'text' as const, text: notes.map((note) => `Note: ${note}`).join('\n') };
  const { structuredContent: structured } = result;
  if (!structured) return { ...result, content: [...(first ? [first] : []), told, ...others] };
  const known = Array.isArray(structured['notes']) ? (structured['notes'] as unknown[]) : [];
  return {
    ...result,
    content: [...(first ? [first] : []), told, ...others],
    structuredContent: { ...structured, notes: [...known, ...notes] },
  };
}

/** @throws Error, a mistake of ours, when the answer is not what was promised */
function checked({ name, output }: Tool, result: CallToolResult): CallToolResult {
  if (!output || result.isError === true) return result;
  const parsed = output.safeParse(result.structuredContent);
  if (parsed.success) return result;
  throw new Error(`${name} answered what its schema does not hold: ${parsed.error.message}`);
}
