import { ERRORS, isErrorCode } from '../errors.ts';

/** Codes that no server sends: what can go wrong on this side. Listed in `docs/cli.md`. */
export const CLIENT_CODES = {
  not_reachable: 'Start a server with `flashpods up`, or say with FLASHPODS_URL where one is.',
  unexpected_answer: 'Check that FLASHPODS_URL names a Flashpods server.',
  wrong_settings: 'Correct the setting that the message names.',
  invalid_arguments: 'See `--help` of the command.',
  poll_timeout: 'The job goes on; wait for it again, or end it with `flashpods kill`.',
  upload_failed: 'Try again; if a file is named, leave it out with --exclude.',
  upload_disk_full: 'Send less (see --exclude), or free space on the server.',
  download_failed: 'Try again while the artifact is kept.',
  unsafe_artifact_name: 'Don’t trust this server: it sent a name that would leave the directory.',
  file_exists: 'Move the file away, choose another directory, or overwrite it with --force.',
  interrupted: 'Nothing is left to do.',
} as const;

export type ClientCode = keyof typeof CLIENT_CODES;

export interface ClientErrorOptions {
  /** HTTP status; left out when no server answered. */
  readonly status?: number | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  /** Instead of the advice that the catalogue gives for the code. */
  readonly advice?: string | undefined;
  readonly cause?: unknown;
}

/** Something failed for the client: what the API answered, or a code of {@link CLIENT_CODES}. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly code: string;
  readonly status: number | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly requestId: string | null;
  readonly retryAfterMs: number | null;
  /** What to do next, one sentence. */
  readonly advice: string;

  constructor(code: string, message: string, options: ClientErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? null;
    this.details = options.details ?? {};
    this.requestId = options.requestId ?? null;
    this.retryAfterMs = options.retryAfterMs ?? null;
    this.advice = options.advice ?? adviceFor(code);
  }
}

export const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof ClientError && codes.includes(error.code);

const isClientCode = (code: string): code is ClientCode => Object.hasOwn(CLIENT_CODES, code);

/** What the catalogue advises about the code. */
export function adviceFor(code: string): string {
  if (isClientCode(code)) return CLIENT_CODES[code];
  return isErrorCode(code) ? ERRORS[code].advice : 'Look up the request id in the log of the server.';
}
