import type { ApiMiddleware } from '../context.ts';
import type { OpenRequests } from '../open-requests.ts';

/** How long a client that was answered early may go on sending before its connection is cut. */
const LINGER_MS = 10_000;

/** Why requests are abandoned: made once, because the reason that a signal makes by itself is an error with its stack. */
const GONE = new Error('nobody waits for this answer any longer');

/**
 * `state.abandoned`, for waits that nobody needs any longer. And an answer that comes before the body is read (413,
 * 401 …) must be readable: a socket closed with bytes under way makes the kernel drop the answer, so the rest is
 * read and thrown away for a bounded time.
 */
export const abandonment =
  (stopping: AbortSignal, open: OpenRequests): ApiMiddleware =>
  async (ctx, next) => {
    const gone = new AbortController();
    ctx.state.open = open;
    ctx.state.abandoned = AbortSignal.any([gone.signal, stopping]);
    ctx.state.abandon = () => gone.abort(GONE);
    const { req, res } = ctx;
    // A streamed answer alone has a dozen that listen for its end; ten is where Node would warn of a leak.
    res.setMaxListeners(20);
    res.once('close', () => gone.abort(GONE));
    res.once('finish', () => {
      if (req.complete || req.destroyed) return;
      const cut = setTimeout(() => req.socket.destroy(), LINGER_MS).unref();
      req.once('close', () => clearTimeout(cut));
      req.once('end', () => clearTimeout(cut));
      req.resume();
    });
    if (stopping.aborted) ctx.set('Connection', 'close');
    await next();
  };
