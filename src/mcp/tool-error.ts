/** What a tool answers when it failed: code, message, what to do next. */
import { adviceFor, ClientError } from '../client/client-error.ts';
import { FlashpodsError, messageOf } from '../errors.ts';
import type { CallToolResult } from './definition.ts';
import { printable } from './printable.ts';

const MAX_DETAILS = 600;

export function toolError(error: unknown): CallToolResult {
  const parts = partsOf(error);
  const details = JSON.stringify(parts.details);
  const lines = [
    `${parts.code}: ${printable(parts.message)}`,
    `What to do: ${parts.advice}`,
    details === '{}' || details.length > MAX_DETAILS ? null : `Details: ${printable(details)}`,
    parts.requestId === null ? null : `Request id: ${printable(parts.requestId)}`,
  ];
  return {
    isError: true,
    content: [{ type: 'text', text: lines.filter((line) => line !== null).join('\n') }],
  };
}

interface Parts {
  readonly code: string;
  readonly message: string;
  readonly advice: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly requestId: string | null;
}

function partsOf(error: unknown): Parts {
  if (error instanceof ClientError) {
    const { code, message, details, requestId } = error;
    return { code, message, details, requestId, advice: error.advice ?? adviceFor(code, 'mcp') };
  }
  // What is not of the catalogue is a mistake of ours, or an aborted signal whose answer nobody reads.
  const ours = error instanceof FlashpodsError ? error : null;
  const code = ours?.code ?? 'internal_error';
  return {
    code,
    message: messageOf(error),
    advice: adviceFor(code, 'mcp'),
    details: ours?.details ?? {},
    requestId: null,
  };
}
