import { FlashpodsError } from '../../../src/errors.ts';
import type { TokenVerifier } from '../../../src/identity/principal.ts';
import { digestOf } from '../../../src/identity/token.ts';
import { requireSameOrigin, SESSION_COOKIE } from '../../middleware/authentication.ts';
import { operation, type Operation } from '../../operation.ts';
import { SESSION_LIFETIME_MS, type Sessions } from '../../sessions.ts';
import { openSessionSchema } from './schema.ts';

const cookieOptions = { httpOnly: true, sameSite: 'strict', path: '/', overwrite: true } as const;

export const sessionOperations = (tokens: TokenVerifier, sessions: Sessions): readonly Operation[] => [
  operation({
    id: 'openSession',
    tag: 'server',
    method: 'post',
    path: '/session',
    summary: 'Exchange a token for a browser’s cookie',
    description:
      'The cookie opens `/queues` and nothing else; from this server’s own pages, under this host name.',
    scope: 'body',
    body: { required: true, json: openSessionSchema },
    answers: {
      204: {
        description: 'Signed in.',
        headers: {
          'Set-Cookie': `\`${SESSION_COOKIE}\`, HttpOnly, SameSite=Strict; Secure for a page that came by https`,
        },
      },
    },
    errors: [
      'invalid_request',
      'payload_too_large',
      'unsupported_media_type',
      'invalid_token',
      'insufficient_scope',
    ],
    async handle(ctx, { body: { token } }) {
      requireSameOrigin(ctx);
      const digest = digestOf(token);
      if (!(await tokens.find(digest))) throw new FlashpodsError('invalid_token');
      // What a browser says of its own page: behind a proxy with TLS the connection here is plain.
      const secure = ctx.get('Origin').startsWith('https://');
      ctx.cookies.secure = secure;
      ctx.cookies.set(SESSION_COOKIE, await sessions.open(digest, ctx.host), {
        ...cookieOptions,
        secure,
        maxAge: SESSION_LIFETIME_MS,
      });
      ctx.status = 204;
    },
  }),
  operation({
    id: 'closeSession',
    tag: 'server',
    method: 'delete',
    path: '/session',
    summary: 'Sign out',
    scope: 'body',
    answers: { 204: { description: 'The cookie is no longer valid.' } },
    errors: ['insufficient_scope'],
    async handle(ctx) {
      requireSameOrigin(ctx);
      const secret = ctx.cookies.get(SESSION_COOKIE);
      if (secret !== undefined) await sessions.close(secret);
      ctx.cookies.set(SESSION_COOKIE, null, cookieOptions);
      ctx.status = 204;
    },
  }),
];
