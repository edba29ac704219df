import { z } from 'zod';
import { operation, type Operation } from '../../operation.ts';
import { contentSecurityPolicy } from './html.ts';
import { openApiDocument } from './openapi.ts';
import { docsPage } from './page.ts';
import { SCRIPT_HASH } from './try.ts';

/** The two descriptions of `described`, and of themselves. */
export function docsOperations(described: readonly Operation[]): readonly Operation[] {
  const own: Operation[] = [
    operation({
      id: 'getOpenApi',
      tag: 'server',
      method: 'get',
      path: '/openapi.json',
      summary: 'The OpenAPI 3.1 document',
      scope: 'public',
      answers: {
        200: {
          description: 'The document.',
          content: { 'application/json': z.looseObject({ openapi: z.string() }) },
        },
      },
      errors: [],
      handle(ctx) {
        ctx.body = document;
        ctx.set('Content-Type', 'application/json; charset=utf-8');
      },
    }),
    operation({
      id: 'getDocs',
      tag: 'server',
      method: 'get',
      path: '/docs',
      summary: 'The API as a web page, with a form for each request',
      scope: 'public',
      answers: { 200: { description: 'The page.', content: { 'text/html': 'text' } } },
      errors: [],
      handle(ctx) {
        ctx.set('Content-Security-Policy', contentSecurityPolicy([SCRIPT_HASH]));
        ctx.body = html;
        ctx.set('Content-Type', 'text/html; charset=utf-8');
      },
    }),
  ];
  const all = [...described, ...own];
  const document = JSON.stringify(openApiDocument(all));
  const html = docsPage(all);
  return own;
}
