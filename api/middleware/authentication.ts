import { FlashpodsError } from '../../src/errors.ts';
import { requireScope, type TokenVerifier } from '../../src/identity/principal.ts';
import { digestOf } from '../../src/identity/token.ts';
import { RecentMap } from '../../src/recent-map.ts';
import { Caller } from '../caller.ts';
import type { ApiContext } from '../context.ts';
import type { Access } from '../operation.ts';
import type { Sessions } from '../sessions.ts';
import type { RateLimit } from './rate-limit.ts';

/** Tokens beyond this many are strangers again, the one unused for longest first: that costs them one request. */
const MAX_KNOWN = 10_000;

export const SESSION_COOKIE = 'flashpods_session';

export interface Authentication {
  readonly tokens: TokenVerifier;
  readonly sessions: Sessions;
  readonly limit: RateLimit;
}

/** Lets the request in or throws, counts it, and leaves in `state.caller` who asks. */
export type Authenticate = (ctx: ApiContext, access: Access) => Promise<void>;

/**
 * Finds out who asks, as the operation wants to know it.
 *
 * A token that this process has not found good before costs one request of its address's bucket before it is looked
 * up: once that is empty, right and wrong guesses are answered alike. A known caller goes on undisturbed.
 */
export function authentication({ tokens, sessions, limit }: Authentication): Authenticate {
  /** Digests of tokens that this process has found good. */
  const known = new RecentMap<string, true>(MAX_KNOWN);

  async function callerOf(ctx: ApiContext, access: Access): Promise<Caller> {
    let counted = false;
    try {
      const digest = await shownToken(ctx, sessions, access);
      const key = digest.toString('base64');
      if (!known.has(key)) {
        counted = true;
        await limit.countAddress(ctx);
      }
      const principal = await tokens.find(digest);
      if (principal) {
        known.set(key, true);
        return new Caller(principal, digest, tokens);
      }
      known.delete(key);
      throw new FlashpodsError(ctx.get('Authorization') === '' ? 'missing_authorization' : 'invalid_token');
    } catch (error) {
      // Every refusal counts, and says how many more there may be.
      if (!counted) await limit.countAddress(ctx);
      throw error;
    }
  }

  return async (ctx, access) => {
    const { scope, uncounted = false } = access;
    if (scope === 'public' || scope === 'body') {
      await (uncounted ? limit.showAddress(ctx) : limit.countAddress(ctx));
      return;
    }
    const caller = await callerOf(ctx, access);
    ctx.state.caller = caller;
    await (uncounted ? limit.showToken(ctx, caller.principal) : limit.countToken(ctx, caller.principal));
    if (scope !== 'any') requireScope(caller.principal, scope);
  };
}

/** The digest of the token that the request shows, by its header or by its session. */
async function shownToken(ctx: ApiContext, sessions: Sessions, { browsers }: Access): Promise<Buffer> {
  const header = ctx.get('Authorization');
  if (header === '') return bySession(ctx, sessions, browsers === true);
  // RFC 6750; the scheme's name is compared without regard to case (RFC 9110, 11.1).
  const token = /^bearer +([A-Za-z0-9\-._~+/!#$%&'*^`|:;<>?@[\](){}",\\]+=*) *$/i.exec(header)?.[1];
  if (token === undefined) throw new FlashpodsError('malformed_authorization');
  return digestOf(token);
}

async function bySession(ctx: ApiContext, sessions: Sessions, browsers: boolean): Promise<Buffer> {
  const secret = browsers ? ctx.cookies.get(SESSION_COOKIE) : undefined;
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
