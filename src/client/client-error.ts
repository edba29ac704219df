import { adviceOn, FlashpodsError, isErrorCode } from '../errors.ts';

/**
 * Codes that no server sends: what can go wrong on this side, with advice for the command line and, where that is no
 * help to an agent with tools, for the agent. Listed in `docs/cli.md`.
 */
export const CLIENT_CODES = {
  not_reachable: {
    cli: 'Start a server with `flashpods up`, or set FLASHPODS_URL to the address of one.',
    mcp: 'Try again in a moment. If it stays so, ask the person to start a server with `flashpods up`, or to set FLASHPODS_URL.',
  },
  unexpected_answer: {
    cli: 'Check that FLASHPODS_URL names a Flashpods server.',
    mcp: 'Ask the person to check that FLASHPODS_URL names a Flashpods server.',
  },
  wrong_settings: {
    cli: 'Correct the setting that the message names.',
    mcp: 'Ask the person to correct the setting that the message names.',
  },
  invalid_arguments: {
    cli: 'Run the command with `--help` for usage.',
    mcp: 'Correct the argument that the message names and call the tool again.',
  },
  ambiguous_job: {
    cli: 'Give more of the id; `flashpods ps -a` lists the jobs.',
    mcp: 'Give the whole id.',
  },
  poll_timeout: {
    cli: 'The job goes on; wait for it again, or end it with `flashpods kill`.',
    mcp: 'Call again in a moment.',
  },
  upload_failed: {
    cli: 'Try again; if a file is named, leave it out with --exclude.',
    mcp: 'Call again; if a file is named, leave it out with files.exclude.',
  },
  upload_disk_full: {
    cli: 'Send less (see --exclude), or free space on the server.',
    mcp: 'Send less: leave out what the job does not need with files.exclude.',
  },
  download_failed: {
    cli: 'Try again while the artifact is kept.',
    mcp: 'Check the path in save_to, and call again while the artifact is kept.',
  },
  unsafe_artifact_name: { cli: 'Don’t trust this server: it sent a name that would leave the directory.' },
  file_exists: {
    cli: 'Move the file away, choose another directory, or overwrite it with --force.',
    mcp: 'Give another save_to, or pass overwrite: true.',
  },
  path_not_allowed: {
    cli: 'Give a path within the directories that are allowed.',
    mcp: 'Give a path within what the person opened.',
  },
  interrupted: { cli: 'There is nothing more to do.' },
} as const satisfies Record<string, { readonly cli: string; readonly mcp?: string }>;

export type ClientCode = keyof typeof CLIENT_CODES;

export interface ClientErrorOptions {
  /** HTTP status; left out when no server answered. */
  readonly status?: number | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  /** Instead of what is advised about the code. */
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
  /** What to do next, one sentence, about this very error; null where {@link adviceFor} its code says it all. */
  readonly advice: string | null;

  constructor(code: string, message: string, options: ClientErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? null;
    this.details = options.details ?? {};
    this.requestId = options.requestId ?? null;
    this.retryAfterMs = options.retryAfterMs ?? null;
    this.advice = options.advice ?? null;
  }
}

/** Whether it is an error with one of the codes, of this side or of the domain itself. */
export const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  (error instanceof ClientError || error instanceof FlashpodsError) && codes.includes(error.code);

const isClientCode = (code: string): code is ClientCode => Object.hasOwn(CLIENT_CODES, code);

/** What is advised about the code, to who reads it at that face. */
export function adviceFor(code: string, face: 'cli' | 'mcp'): string {
  if (isErrorCode(code)) return adviceOn(code, face);
  if (!isClientCode(code)) return 'Look up the request id in the log of the server.';
  const advice: { readonly cli: string; readonly mcp?: string } = CLIENT_CODES[code];
  return advice[face] ?? advice.cli;
}
