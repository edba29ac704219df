/**
 * Bull Board at `/queues`: to look at, never to act. Its retry, promote and clean buttons would go round the fence
 * that keeps a job from running twice, so they are hidden by its read-only mode and refused here by method as well.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { KoaAdapter } from '@bull-board/koa';
import type { Queue } from 'bullmq';
import { FlashpodsError } from '../../../src/errors.ts';
import type { ApiMiddleware } from '../../context.ts';
import type { Authenticate } from '../../middleware/authentication.ts';
import type { Access } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';

export const BOARD_PATH = '/queues';
const ACCESS: Access = { scope: 'admin', browsers: true };

/** What the page loads: its own files, styles in the page; nothing from other hosts. */
const CONTENT_SECURITY_POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'self'";

export function board(
  { boardQueues }: Pick<ApiResources, 'boardQueues'>,
  authenticate: Authenticate,
): ApiMiddleware {
  const adapter = new KoaAdapter().setBasePath(BOARD_PATH);
  const bullBoard = createBullBoard({
    queues: [],
    serverAdapter: adapter,
    options: {
      uiConfig: {
        boardTitle: 'Flashpods',
        favIcon: { default: 'static/images/logo.svg', alternative: 'static/favicon-32x32.png' },
      },
    },
  });
  const shown = new Map<Queue, BullMQAdapter>();
  const plugin = adapter.registerPlugin() as unknown as ApiMiddleware;

  return async (ctx, next) => {
    if (ctx.path !== BOARD_PATH && !ctx.path.startsWith(`${BOARD_PATH}/`)) {
      await next();
      return;
    }
    await authenticate(ctx, ACCESS);
    if (ctx.method !== 'GET' && ctx.method !== 'HEAD') {
      ctx.set('Allow', 'GET, HEAD');
      throw new FlashpodsError(
        'method_not_allowed',
        'The board is for looking; jobs are cancelled with `DELETE /jobs/:id`.',
      );
    }
    if (ctx.path.startsWith(`${BOARD_PATH}/api/`)) {
      const queues = await boardQueues();
      for (const queue of shown.keys()) if (!queues.includes(queue)) shown.delete(queue);
      for (const queue of queues) {
        if (!shown.has(queue))
          shown.set(queue, new BullMQAdapter(queue, { readOnlyMode: true, allowRetries: false }));
      }
      bullBoard.replaceQueues([...shown.values()]);
    }
    ctx.set('Content-Security-Policy', CONTENT_SECURITY_POLICY);
    await plugin(ctx, next);
  };
}
