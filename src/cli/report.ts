import { adviceFor, ClientError } from '../client/client-error.ts';
import { messageOf } from '../errors.ts';
import { type Output, sanitize } from './terminal.ts';

/** An error that says `not_found` of something, with the advice for that; any other as it is. */
export function advised(error: unknown, advice: string): unknown {
  if (!(error instanceof ClientError) || error.code !== 'not_found') return error;
  const { code, message, status, requestId } = error;
  return new ClientError(code, message, {
    status: status ?? undefined,
    requestId: requestId ?? undefined,
    advice,
    cause: error,
  });
}

/** Code, message, what to do next and the request id, for a person or as one JSON object. */
export async function reportError(error: unknown, err: Output, json: boolean): Promise<void> {
  if (!(error instanceof ClientError)) {
    // A mistake of ours: the stack is what its report needs.
    const text = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
    await (json ? err.json({ error: 'internal_error', message: messageOf(error) }) : err.line(text));
    return;
  }
  const advice = error.advice ?? adviceFor(error.code, 'cli');
  if (json) {
    const { code, message, details, requestId } = error;
    await err.json({ error: code, message, advice, details, request_id: requestId });
    return;
  }
  await err.line(`${err.colour('red', `flashpods: ${sanitize(error.code)}`)}: ${sanitize(error.message)}`);
  if (error.code !== 'interrupted') await err.line(`  ${advice}`);
  if (error.requestId !== null) await err.line(err.colour('dim', `  request ${sanitize(error.requestId)}`));
}
