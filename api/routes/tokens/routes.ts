import { principalOf } from '../../context.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentToken } from './present.ts';
import { createdTokenSchema, createTokenSchema, tokenListSchema, tokenNameParams } from './schema.ts';

export const tokenOperations = ({ namedTokens }: Pick<ApiResources, 'namedTokens'>): readonly Operation[] => [
  operation({
    id: 'createToken',
    tag: 'tokens',
    method: 'post',
    path: '/tokens',
    summary: 'Make a token',
    description: 'The answer shows the token itself, once; what is kept of it is a digest.',
    scope: 'admin',
    body: { required: true, json: createTokenSchema },
    answers: { 201: json('It is good from now on.', createdTokenSchema) },
    errors: ['invalid_request', 'payload_too_large', 'unsupported_media_type', 'quota_exceeded'],
    async handle(ctx, { body: request }) {
      const { token, plaintext } = await namedTokens.create(
        {
          name: request.name,
          owner: request.owner,
          scopes: request.scopes,
          expiresAt: request.expires_at === null ? null : Date.parse(request.expires_at),
        },
        principalOf(ctx),
      );
      ctx.status = 201;
      ctx.body = { ...presentToken(token), token: plaintext };
    },
  }),
  operation({
    id: 'listTokens',
    tag: 'tokens',
    method: 'get',
    path: '/tokens',
    summary: 'List tokens, by name',
    description: 'Without the one of the server’s configuration, and without those that were revoked.',
    scope: 'admin',
    answers: { 200: json('The tokens.', tokenListSchema) },
    errors: [],
    async handle(ctx) {
      ctx.body = { tokens: (await namedTokens.list()).map((token) => presentToken(token)) };
    },
  }),
  operation({
    id: 'revokeToken',
    tag: 'tokens',
    method: 'delete',
    path: '/tokens/{name}',
    summary: 'Revoke a token',
    description: 'It stops working within a second, at every API process; what it created stays.',
    scope: 'admin',
    params: tokenNameParams,
    answers: { 204: { description: 'It is revoked.' } },
    errors: ['not_found'],
    async handle(ctx, { params: { name } }) {
      await namedTokens.revoke(name, principalOf(ctx));
      ctx.status = 204;
    },
  }),
];
