/**
 * Where clients of MCP look for an authorization server before they use their token. There is none, and only a plain 404
 * says so: at a 401 they ask their person to sign in, or give up.
 */
import { FlashpodsError } from '../../../src/errors.ts';
import type { ApiMiddleware } from '../../context.ts';
import type { Authenticate } from '../../middleware/authentication.ts';

/** `/.well-known/oauth-protected-resource/mcp`, `/mcp/.well-known/openid-configuration` and the like. */
const DISCOVERY = /^(?:\/mcp)?\/\.well-known(?:\/|$)/;
/** The endpoints that such a server has by default. */
const ENDPOINTS = ['/register', '/authorize', '/token'];

/** @throws FlashpodsError not_found, also to those without a token; each costs their address a request */
export const noDiscovery =
  (authenticate: Authenticate): ApiMiddleware =>
  async (ctx, next) => {
    if (!DISCOVERY.test(ctx.path) && !ENDPOINTS.includes(ctx.path)) {
      await next();
      return;
    }
    await authenticate(ctx, { scope: 'public' });
    throw new FlashpodsError(
      'not_found',
      'There is no authorization server here: send the token as a bearer token.',
    );
  };
