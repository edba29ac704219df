import { FlashpodsError } from '../../src/errors.ts';
import type { ApiContext, ApiMiddleware } from '../context.ts';
import type { Sessions } from '../sessions.ts';
import { digestOf, type Principal, type TokenVerifier } from '../tokens.ts';

export const SESSION_COOKIE = 'flashpods_session';

/** Paths that anybody may read. */
const PUBLIC = new Set(['/health', '/openapi.json', '/docs']);

/** What a browser's cookie opens; every other path takes a bearer token only. */
const isForBrowsers = (path: string): boolean => path === '/queues' || path.startsWith('/queues/');

const isPublic = (ctx: ApiContext): boolean =>
  (ctx.method === 'GET' || ctx.method === 'HEAD') && PUBLIC.has(ctx.path);

export interface Authentication {
  readonly tokens: TokenVerifier;
  readonly sessions: Sessions;
}

/**
 * Finds out who asks and leaves it in `state.principal`; says nothing yet if that fails, so that the rate limit
 * counts the attempt first. `POST /session` carries its token in the body and authenticates by itself.
 */
export const authentication =
  ({ tokens, sessions }: Authentication, rateLimited: (ctx: ApiContext) => Promise<void>): ApiMiddleware =>
  async (ctx, next) => {
    ctx.state.principal = null;
    let refusal: FlashpodsError | null = null;
    if (!isPublic(ctx) && ctx.path !== '/session') {
      try {
        ctx.state.principal = await authenticate(ctx, tokens, sessions);
      } catch (error) {
        if (!(error instanceof FlashpodsError)) throw error;
        refusal = error;
      }
    }
    await rateLimited(ctx);
    if (refusal) throw refusal;
    await next();
  };

async function authenticate(ctx: ApiContext, tokens: TokenVerifier, sessions: Sessions): Promise<Principal> {
  const header = ctx.get('Authorization');
  if (header === '') {
    const principal = isForBrowsers(ctx.path) ? await bySession(ctx, tokens, sessions) : null;
    if (principal) return principal;
    throw new FlashpodsError('missing_authorization');
  }
  // RFC 6750; the scheme's name is compared without regard to case (RFC 9110, 11.1).
  const token = /^bearer +([A-Za-z0-9\-._~+/!#$%&'*^`|:;<>?@[\](){}",\\]+=*) *$/i.exec(header)?.[1];
  if (token === undefined) throw new FlashpodsError('malformed_authorization');
  const principal = await tokens.find(digestOf(token));
  if (!principal) throw new FlashpodsError('invalid_token');
  return principal;
}

async function bySession(
  ctx: ApiContext,
  tokens: TokenVerifier,
  sessions: Sessions,
): Promise<Principal | null> {
  const secret = ctx.cookies.get(SESSION_COOKIE);
  const session = secret === undefined ? null : sessions.find(secret);
  if (!session) return null;
  if (session.host !== ctx.host) {
    throw new FlashpodsError('insufficient_scope', 'The session was opened under another host name.');
  }
  requireSameOrigin(ctx);
  return tokens.find(session.tokenDigest);
}

/**
 * Cookies are shared by all ports of a host, so another program's page on this machine could send ours: what the
 * browser itself says about the page must fit. A browser leaves `Origin` out of plain GETs of its own origin.
 * @throws FlashpodsError insufficient_scope
 */
export function requireSameOrigin(ctx: ApiContext): void {
  const origin = ctx.get('Origin');
  const site = ctx.get('Sec-Fetch-Site');
  const foreign = origin !== '' && origin !== `http://${ctx.host}` && origin !== `https://${ctx.host}`;
  if (foreign || (site !== '' && site !== 'same-origin' && site !== 'none')) {
    throw new FlashpodsError('insufficient_scope', 'A session serves the pages of this server only.');
  }
}
