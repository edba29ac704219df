/**
 * The protocol as of 2026-07-28, in which each request stands for itself: no session, no initialization. Spoken by the
 * successor of the SDK that the sessions use; what a server offers is the same definition.
 */
import { createMcpHandler, isLegacyRequest, Server, type ServerContext } from '@modelcontextprotocol/server';
import type { McpConnectionState } from './capabilities/capability.ts';
import { refusal } from './http-messages.ts';
import { idOf } from './messages.ts';
import type { ServerDefinition } from './server.ts';
import { untilEnd } from './until-end.ts';
import { VERSION } from '../version.ts';

/** Also where it names that version and is broken: the answer has to be of that version. */
export const isModern = async (request: Request, body: unknown): Promise<boolean> =>
  request.method === 'POST' && !(await isLegacyRequest(request, body));

/** Of methods that this version has; tasks are an extension there, which the SDK does not carry. */
const METHODS = [
  'tools/list',
  'tools/call',
  'resources/list',
  'resources/templates/list',
  'resources/read',
  'completion/complete',
] as const;

/** What the SDK answers once the signal of a request aborts. */
const ABANDONED = 499;

/** Answers one request. Its signal ends what is done for it; those who still listen then hear of it. */
export async function handleModern(
  request: Request,
  body: unknown,
  definition: ServerDefinition,
): Promise<Response> {
  const handler = createMcpHandler(() => serverOf(definition), { legacy: 'reject' });
  const close = (): void => {
    definition.close?.();
    void handler.close();
  };
  try {
    const response = await handler.fetch(request, { parsedBody: body });
    if (response.status === ABANDONED) {
      close();
      return refusal(503, -32000, 'The server is stopping, or the token was revoked.', idOf(body));
    }
    if (!response.body) {
      close();
      return response;
    }
    return new Response(untilEnd(response.body, close), response);
  } catch (error) {
    close();
    throw error;
  }
}

function serverOf({ instructions, capabilities }: ServerDefinition): Server {
  const offered = capabilities.map(({ declares }) => declares);
  const { tasks: _tasks, ...declared } = Object.assign({}, ...offered) as Record<string, object>;
  const server = new Server(
    { name: 'flashpods', title: 'Flashpods', version: VERSION },
    { capabilities: declared, ...(instructions === undefined ? {} : { instructions }) },
  );
  const connection = { server: adapted(server), over: false } as unknown as McpConnectionState;
  for (const capability of capabilities) capability.serve(connection);
  return server;
}

type Handler = (request: object, extra: object) => unknown;

/** What capabilities use of the older SDK's server. */
const adapted = (server: Server) => ({
  getClientCapabilities: () => undefined,
  setRequestHandler(schema: { shape: { method: { value: string } } }, handler: Handler): void {
    const method = METHODS.find((each) => each === schema.shape.method.value);
    if (method === undefined) return;
    server.setRequestHandler(method, (async ({ params }: { params?: object }, context: ServerContext) =>
      handler({ method, params: params ?? {} }, extraOf(context))) as never);
  },
});

const extraOf = ({ mcpReq: { signal, _meta, notify, id } }: ServerContext): object => ({
  signal,
  requestId: id,
  _meta,
  sendNotification: notify,
});
