import { FlashpodsError } from '../../src/errors.ts';
import type { Principal, TokenVerifier } from '../../src/identity/principal.ts';
import { digestOf } from '../../src/identity/token.ts';
import type { ApiContext, ApiMiddleware } from '../context.ts';
import type { Sessions } from '../sessions.ts';
import type { RateLimit } from './rate-limit.ts';

export const SESSION_COOKIE = 'flashpods_session';

/** Paths that anybody may read. */
const PUBLIC = new Set(['/health', '/openapi.json', '/docs']);

/**
 * What a browser's cookie opens; every other path takes a bearer token only. An `EventSource` can't send one, and
 * events change nothing.
 */
const isForBrowsers = ({ path, method }: ApiContext): boolean =>
  path === '/queues' ||
  path.startsWith('/queues/') ||
  (method === 'GET' && /^(\/jobs\/[^/]+)?\/events$/.test(path));

const isPublic = (ctx: ApiContext): boolean =>
  (ctx.method === 'GET' || ctx.method === 'HEAD') && PUBLIC.has(ctx.path);

/** A request that takes long is looked at this often: a revoked token ends it within a second. */
const LOOK_AGAIN_MS = 500;

export interface Authentication {
  readonly tokens: TokenVerifier;
  readonly sessions: Sessions;
  readonly limit: RateLimit;
}

interface Holder {
  readonly principal: Principal;
  readonly digest: Buffer;
}

/**
 * Finds out who asks, leaves it in `state.principal`, and counts the request. `POST /session` carries its token in
 * the body and authenticates by itself.
 *
 * A token that this process has not found good before costs one request of its address's bucket before it is looked
 * up: once that is empty, right and wrong guesses are answered alike. Whoever is known goes on undisturbed.
 */
export function authentication({ tokens, sessions, limit }: Authentication): ApiMiddleware {
  const known = new KnownTokens();

  async function holderOf(ctx: ApiContext): Promise<Holder> {
    let counted = false;
    try {
      const digest = await shownToken(ctx, sessions);
      if (!known.has(digest)) {
        counted = true;
        await limit.countAddress(ctx);
      }
      const principal = await tokens.find(digest);
      if (principal) {
        known.add(digest);
        return { principal, digest };
      }
      known.delete(digest);
      throw new FlashpodsError(ctx.get('Authorization') === '' ? 'missing_authorization' : 'invalid_token');
    } catch (error) {
      // Every refusal counts, and says how many more there may be.
      if (!counted) await limit.countAddress(ctx);
      throw error;
    }
  }

  return async (ctx, next) => {
    ctx.state.principal = null;
    if (isPublic(ctx) || ctx.path === '/session') {
      await limit.countAddress(ctx);
      await next();
      return;
    }
    const { principal, digest } = await holderOf(ctx);
    ctx.state.principal = principal;
    await limit.countToken(ctx, principal);
    const watch = setInterval(() => {
      if (ctx.res.closed) clearInterval(watch); // it was closed before this began to listen
      tokens.find(digest).then(
        (still) => still ?? ctx.state.abandon(),
        () => undefined, // nobody could be asked; the next look may tell
      );
    }, LOOK_AGAIN_MS).unref();
    ctx.res.once('close', () => clearInterval(watch));
    await next();
  };
}

/** The digest of the token that the request shows, by its header or by its session. */
async function shownToken(ctx: ApiContext, sessions: Sessions): Promise<Buffer> {
  const header = ctx.get('Authorization');
  if (header === '') return bySession(ctx, sessions);
  // RFC 6750; the scheme's name is compared without regard to case (RFC 9110, 11.1).
  const token = /^bearer +([A-Za-z0-9\-._~+/!#$%&'*^`|:;<>?@[\](){}",\\]+=*) *$/i.exec(header)?.[1];
  if (token === undefined) throw new FlashpodsError('malformed_authorization');
  return digestOf(token);
}

async function bySession(ctx: ApiContext, sessions: Sessions): Promise<Buffer> {
  const secret = isForBrowsers(ctx) ? ctx.cookies.get(SESSION_COOKIE) : undefined;
  const session = secret === undefined ? null : await sessions.find(secret);
  if (!session) throw new FlashpodsError('missing_authorization');
  if (session.host !== ctx.host) {
    throw new FlashpodsError('insufficient_scope', 'The session was opened under another host name.');
  }
  requireSameOrigin(ctx);
  return session.tokenDigest;
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

/** Tokens seen beyond this many are strangers again, the oldest first: that costs them one request. */
const MAX_KNOWN = 10_000;

/** Digests of tokens that this process has found good. */
class KnownTokens {
  readonly #digests = new Set<string>();

  has(digest: Buffer): boolean {
    return this.#digests.has(digest.toString('base64'));
  }

  add(digest: Buffer): void {
    this.#digests.add(digest.toString('base64'));
    const oldest = this.#digests.keys().next();
    if (this.#digests.size > MAX_KNOWN && !oldest.done) this.#digests.delete(oldest.value);
  }

  delete(digest: Buffer): void {
    this.#digests.delete(digest.toString('base64'));
  }
}
