import { type CompleteRequest, CompleteRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import type { Complete } from '../definition.ts';
import type { Capability } from './capability.ts';

/** The MCP specification lets completion answer with at most this many. */
const MAX_COMPLETIONS = 100;

/** How to complete an argument of what the client refers to; undefined where nobody knows. */
export type Completer = (ref: CompleteRequest['params']['ref'], argument: string) => Complete | undefined;

export const completionCapability = (completerOf: Completer): Capability => ({
  declares: { completions: {} },
  serve({ server }) {
    server.setRequestHandler(CompleteRequestSchema, async ({ params: { ref, argument, context } }) => {
      const complete = completerOf(ref, argument.name);
      const values = complete ? await complete(argument.value, context?.arguments ?? {}) : [];
      const hasMore = values.length > MAX_COMPLETIONS;
      return { completion: { values: values.slice(0, MAX_COMPLETIONS), total: values.length, hasMore } };
    });
  },
});
