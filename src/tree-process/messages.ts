/** What a tree process and its parent say to each other over the channel between them. */
import { type ErrorCode, FlashpodsError, systemCode } from '../errors.ts';

export type Order =
  | { readonly kind: 'run'; readonly name: string; readonly args: unknown; readonly hasInput: boolean }
  /** More may come than was told so far. */
  | { readonly kind: 'go' }
  | { readonly kind: 'abort'; readonly error: PlainError };

export type Report =
  | { readonly kind: 'bytes'; readonly bytes: number }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly error: PlainError };

/** An error that can travel. */
export type PlainError =
  | {
      readonly kind: 'flashpods';
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    }
  | {
      readonly kind: 'other';
      readonly code: string | undefined;
      readonly message: string;
      readonly stack: string;
    };

export function toPlain(error: unknown): PlainError {
  if (error instanceof FlashpodsError) {
    const { code, message, details } = error;
    return { kind: 'flashpods', code, message, details: { ...details } };
  }
  const { message, stack = '' } = error instanceof Error ? error : new Error(String(error));
  return { kind: 'other', code: systemCode(error), message, stack };
}

export function fromPlain(plain: PlainError): Error {
  if (plain.kind === 'flashpods')
    return new FlashpodsError(plain.code, plain.message, { details: plain.details });
  const { code, message, stack } = plain;
  return Object.assign(new Error(message), { stack }, code === undefined ? {} : { code });
}

/** Input goes as pieces with their length in front; a length of 0 is its end. */
export const LENGTH_BYTES = 4;
