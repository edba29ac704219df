import type { TokenAnswer } from '../../client/answers.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { advised } from '../report.ts';
import { table } from '../table.ts';
import { sanitize } from '../terminal.ts';

export interface CreateTokenOptions {
  readonly owner: string;
  readonly scope?: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly expires?: number;
}

/** Everything that working with jobs of one's own takes, and nothing more. */
const DEFAULT_SCOPES = ['jobs:read', 'jobs:write', 'uploads:write'] as const;

const COLUMNS = [
  { title: 'NAME' },
  { title: 'OWNER' },
  { title: 'SCOPES' },
  { title: 'CREATED' },
  { title: 'EXPIRES' },
];

/** Makes a token. Standard output gets the token and nothing else, so that it can be piped to where it belongs. */
export async function createToken(
  name: string,
  options: CreateTokenOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  const created = await client.createToken(
    {
      name,
      owner: options.owner,
      scopes: options.scope ?? DEFAULT_SCOPES,
      ...(options.expires === undefined ? {} : { expires_at: new Date(options.expires).toISOString() }),
    },
    context.untilInterrupted(),
  );
  await context.show(created, () => sanitize(created.token));
  if (!context.json)
    context.notice(
      `token ${sanitize(name)} of ${sanitize(created.owner)} may ${created.scopes.map(sanitize).join(', ')}; it is shown only once.`,
    );
  return ExitCode.fine;
}

/** Lists the tokens, never what opens anything. */
export async function listTokens(context: CliContext): Promise<number> {
  const client = await context.client();
  const tokens = await client.listTokens(context.untilInterrupted());
  await context.show({ tokens }, () => table(COLUMNS, tokens.map(row)).join('\n'));
  if (tokens.length === 0 && !context.json && context.err.isTTY)
    context.notice('no tokens but the one in the server’s configuration');
  return ExitCode.fine;
}

/** Revokes a token: within a second nobody takes it any longer. */
export async function revokeToken(name: string, context: CliContext): Promise<number> {
  const client = await context.client();
  await client.revokeToken(name, context.untilInterrupted()).catch((error: unknown) => {
    throw advised(error, '`flashpods token list` lists the tokens.');
  });
  return context.show({ revoked: name }, () => `${sanitize(name)} revoked`);
}

const day = (time: string): string => sanitize(time.slice(0, 10));

const row = (token: TokenAnswer): readonly string[] => [
  sanitize(token.name),
  sanitize(token.owner),
  token.scopes.map(sanitize).join(' '),
  day(token.created_at),
  token.expires_at === null ? 'never' : token.expired ? 'expired' : day(token.expires_at),
];
