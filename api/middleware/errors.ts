import Koa from 'koa';
import { type ErrorCode, ERRORS, FlashpodsError, systemCode } from '../../src/errors.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { ApiContext, ApiMiddleware } from '../context.ts';

/** Codes whose details the specification wants beside the code, not only under `details`. */
const FLAT_DETAILS: readonly ErrorCode[] = ['insufficient_resources', 'rate_limited'];

export interface ErrorBody {
  readonly error: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly request_id: string;
  readonly retryable: boolean;
}

/** Turns anything thrown into the one shape of errors, or RFC 9457 problem details if asked for those. */
export const errorAnswers =
  (logger: Logger): ApiMiddleware =>
  async (ctx, next) => {
    try {
      await next();
      // What the router says by a bare status.
      if (ctx.body === undefined || ctx.body === null) {
        if (ctx.status === 404) throw new FlashpodsError('not_found');
        if (ctx.status === 405 || ctx.status === 501) throw new FlashpodsError('method_not_allowed');
      }
    } catch (thrown) {
      const error = toFlashpodsError(thrown);
      if (clientHasGone(ctx, thrown)) {
        logger.debug(
          { err: thrown, request_id: ctx.state.requestId },
          'the client went before it was answered',
        );
      } else if (error.status >= 500) {
        const cause = error === thrown ? (error.cause ?? error) : thrown;
        logger.error(
          { err: cause, request_id: ctx.state.requestId, method: ctx.method, path: ctx.path.slice(0, 256) },
          `answered ${error.status} ${error.code}`,
        );
      }
      answerError(ctx, error);
    }
  };

/** Writes the answer. `status` differs from the code's own only where HTTP has a status that the catalogue lacks. */
export function answerError(ctx: ApiContext, error: FlashpodsError, status = error.status): void {
  if (ctx.headerSent) {
    ctx.res.destroy();
    return;
  }
  const body: ErrorBody = {
    error: error.code,
    message: error.message,
    details: error.details,
    request_id: ctx.state.requestId,
    retryable: error.retryable,
  };
  const flat = FLAT_DETAILS.includes(error.code) ? error.details : {};
  ctx.status = status;
  if (status === 401) ctx.set('WWW-Authenticate', 'Bearer realm="flashpods"');
  const retryAfter = error.details['retry_after_seconds'];
  if (typeof retryAfter === 'number') ctx.set('Retry-After', String(retryAfter));
  else if (status === 503) ctx.set('Retry-After', '1');
  // What an earlier step said about a body that is not coming must not describe this one.
  for (const header of ['Content-Length', 'Content-Disposition', 'Content-Range', 'ETag', 'Accept-Ranges']) {
    if (status !== 416 || header !== 'Content-Range') ctx.remove(header);
  }
  if (wantsProblemDetails(ctx)) {
    const { error: code, message, ...rest } = body;
    ctx.body = JSON.stringify({
      ...flat,
      type: `urn:flashpods:error:${code}`,
      title: ERRORS[code].meaning,
      status,
      detail: message,
      code,
      ...rest,
    });
    ctx.set('Content-Type', 'application/problem+json');
  } else {
    ctx.body = { ...flat, ...body };
  }
}

function toFlashpodsError(thrown: unknown): FlashpodsError {
  // A code that belongs into a job's `error` has no status: nobody asked for it over HTTP.
  if (thrown instanceof FlashpodsError && thrown.status >= 400) return thrown;
  if (Koa.HttpError && thrown instanceof Koa.HttpError && thrown.status < 500) {
    const byStatus: Readonly<Record<number, ErrorCode>> = {
      404: 'not_found',
      405: 'method_not_allowed',
      413: 'payload_too_large',
      415: 'unsupported_media_type',
    };
    return new FlashpodsError(byStatus[thrown.status] ?? 'invalid_request', undefined, { cause: thrown });
  }
  return new FlashpodsError('internal_error', undefined, { cause: thrown });
}

const clientHasGone = (ctx: ApiContext, thrown: unknown): boolean =>
  ctx.req.destroyed &&
  !ctx.req.complete &&
  ['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR'].includes(systemCode(thrown) ?? '');

const wantsProblemDetails = (ctx: ApiContext): boolean =>
  ctx.get('Accept').toLowerCase().includes('application/problem+json');
