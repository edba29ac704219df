/** Reads and checks what a request carries. */
import type { z } from 'zod';
import { FlashpodsError } from '../../src/errors.ts';
import { describeIssue } from '../../src/jobs/request.ts';
import type { ApiContext } from '../context.ts';

export const MAX_JSON_BYTES = 1_048_576;
/** A JSON body that takes longer than this to arrive is given up. */
const ARRIVAL_MS = 30_000;

/** Media type and parameters of a `Content-Type`, in lower case. */
export function contentTypeOf(ctx: ApiContext): { type: string; charset: string | null } {
  const [type = '', ...parameters] = ctx.get('Content-Type').toLowerCase().split(';');
  const charset = parameters
    .map((parameter) => /^\s*charset\s*=\s*"?([^"\s]+)"?\s*$/.exec(parameter)?.[1])
    .find(Boolean);
  return { type: type.trim(), charset: charset ?? null };
}

const hasBody = (ctx: ApiContext): boolean =>
  ctx.get('Transfer-Encoding') !== '' || Number(ctx.get('Content-Length') || '0') > 0;

/**
 * The body as JSON; an empty object when there is none and it may be left out.
 * @throws FlashpodsError payload_too_large, unsupported_media_type, invalid_request
 */
export async function readJson(ctx: ApiContext, options: { optional?: boolean } = {}): Promise<unknown> {
  if (!hasBody(ctx)) {
    if (options.optional) return {};
    throw new FlashpodsError('invalid_request', 'the body: a JSON object is missing', {
      details: { field: '' },
    });
  }
  const { type, charset } = contentTypeOf(ctx);
  if (type !== 'application/json' || (charset !== null && charset !== 'utf-8' && charset !== 'utf8')) {
    throw new FlashpodsError(
      'unsupported_media_type',
      'Send the body as `Content-Type: application/json` in UTF-8.',
    );
  }
  if (!['', 'identity'].includes(ctx.get('Content-Encoding').toLowerCase())) {
    throw new FlashpodsError(
      'unsupported_media_type',
      'A JSON body is taken without `Content-Encoding` only.',
    );
  }
  const bytes = await readAll(ctx);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch (cause) {
    throw new FlashpodsError('invalid_request', 'the body: not valid JSON in UTF-8', {
      cause,
      details: { field: '' },
    });
  }
}

function readAll(ctx: ApiContext): Promise<Buffer> {
  const { req } = ctx;
  const tooLarge = (): FlashpodsError =>
    new FlashpodsError('payload_too_large', undefined, { details: { max_bytes: MAX_JSON_BYTES } });
  if (Number(ctx.get('Content-Length') || '0') > MAX_JSON_BYTES) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const settle = (outcome: () => void): void => {
      clearTimeout(timer);
      req.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
      outcome();
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > MAX_JSON_BYTES) settle(() => reject(tooLarge()));
    };
    const onEnd = (): void => settle(() => resolve(Buffer.concat(chunks)));
    const onError = (error: Error): void => settle(() => reject(error));
    const onClose = (): void =>
      settle(() =>
        reject(new FlashpodsError('invalid_request', 'the body: it ended early', { details: { field: '' } })),
      );
    const timer = setTimeout(
      () =>
        settle(() => {
          reject(
            new FlashpodsError(
              'invalid_request',
              `the body: not complete within ${ARRIVAL_MS / 1_000} seconds`,
              {
                details: { field: '' },
              },
            ),
          );
        }),
      ARRIVAL_MS,
    );
    req.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  });
}

/** @throws FlashpodsError invalid_request that names the first wrong field, with all of them in `details.fields` */
export function check<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map(describeIssue);
  throw new FlashpodsError('invalid_request', fields[0]?.message, {
    details: { field: fields[0]?.field, fields },
  });
}

/** The query by its schema, which must be strict: a misspelt parameter is an error, not a wish that is ignored. */
export const checkQuery = <S extends z.ZodType>(schema: S, ctx: ApiContext): z.output<S> =>
  check(schema, { ...ctx.query });
