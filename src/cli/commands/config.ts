/** The settings of the server as they would be in force, where each came from, and what can't be right. */
import { discoverConnection } from '../../client/connection.ts';
import { ClientError } from '../../client/client-error.ts';
import type { ClientEnvironment } from '../../client/environment.ts';
import { explainConfig, type Flags, variableOf } from '../../config.ts';
import { settingsSchema } from '../../settings.ts';
import { BASE_IMAGE } from '../../containers/base-image.ts';
import { MASK, maskAccounts, maskPassword } from '../../observability/masked.ts';
import { table } from '../table.ts';
import { type Output, sanitize } from '../terminal.ts';
import { ExitCode } from '../exit-code.ts';

export interface ConfigResources {
  readonly out: Output;
  readonly err: Output;
  /** The whole environment of the process. */
  readonly env: NodeJS.ProcessEnv;
  readonly client: ClientEnvironment;
}

interface Shown {
  readonly value: string | number | null;
  /** `flag`, `variable`, `file` or `default`. */
  readonly source: string;
  /** The flag, the variable or the file; null for a default. */
  readonly from: string | null;
}

/** Variables that no setting has: of the client, of the settings as a whole, and of the launcher. */
const OTHER_VARIABLES = [
  'FLASHPODS_CONFIG',
  'FLASHPODS_URL',
  'FLASHPODS_HOST',
  'FLASHPODS_PORT',
  'FLASHPODS_INVOKED_AS',
];

/** @returns 1 when a variable has a name that nothing reads @throws ConfigError, ClientError wrong_settings */
export async function showConfig(
  { json, ...flags }: Flags & { readonly json?: boolean },
  { out, err, env, client }: ConfigResources,
): Promise<number> {
  const { config, origins } = explainConfig(flags, env);
  const values: Readonly<Record<string, unknown>> = { ...config };
  const settings = Object.fromEntries(
    Object.keys(settingsSchema.shape).map((name): [string, Shown] => {
      const origin = origins.get(name);
      const value = masked(name, values[name]);
      return [name, { value, source: origin?.kind ?? 'default', from: origin?.name ?? null }];
    }),
  );
  const unknown = unknownVariables(env);
  const server = await serverOf(client);
  if (json) {
    await out.json({ settings, server, unknown_variables: unknown });
  } else {
    const rows = Object.entries(settings).map(([name, { value, source, from }]) => [
      variableOf(name),
      value === null ? '-' : sanitize(String(value)),
      source === 'default' ? 'default' : sanitize(source === 'file' ? `${from}, ${name}` : (from ?? '')),
    ]);
    const columns = [{ title: 'SETTING' }, { title: 'VALUE' }, { title: 'FROM' }];
    await out.line(table(columns, rows).join('\n'));
    await out.line('');
    if (!origins.has('workerImage'))
      await out.line(`\`flashpods up\` itself takes ${BASE_IMAGE} for jobs that name no image.`);
    await out.line(
      server === null
        ? 'The client finds no server: none is configured, and none runs on this machine.'
        : `The client uses ${sanitize(server.url)} (from ${sanitize(server.from)}), ${server.token ? 'with' : 'without'} a token.`,
    );
  }
  for (const name of unknown)
    await err.line(`flashpods: ${sanitize(name)} is an unknown setting and is ignored`);
  return unknown.length === 0 ? ExitCode.fine : ExitCode.error;
}

/** A token, and the password in an address, never leave the process. */
function masked(name: string, value: unknown): Shown['value'] {
  if (typeof value !== 'string') return typeof value === 'number' ? value : null;
  if (name === 'apiToken') return MASK;
  return name === 'redisUrl' ? maskPassword(value) : maskAccounts(value);
}

function unknownVariables(env: NodeJS.ProcessEnv): string[] {
  const known = new Set([...Object.keys(settingsSchema.shape).map(variableOf), ...OTHER_VARIABLES]);
  return Object.keys(env)
    .filter((name) => name.startsWith('FLASHPODS_') && !known.has(name))
    .sort();
}

/** Where the commands of the client would go; null when they would find nothing. @throws ClientError wrong_settings */
async function serverOf(
  client: ClientEnvironment,
): Promise<{ readonly url: string; readonly from: string; readonly token: boolean } | null> {
  try {
    const { url, origin, token } = await discoverConnection({}, client);
    return { url: url.href.replace(/\/$/, ''), from: origin, token: token !== null };
  } catch (error) {
    if (error instanceof ClientError && error.code === 'not_reachable') return null;
    throw error;
  }
}
