import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { ClientEnvironment } from '../config.ts';
import { messageOf, systemCode } from '../errors.ts';
import { ClientError } from './client-error.ts';
import { findLocalServer } from './local-server.ts';
import { DEFAULT_RETRY, type RetryPolicy } from './retry.ts';

/** What the command line may say about the server. */
export interface ConnectionFlags {
  readonly url?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | undefined;
  readonly token?: string | undefined;
}

export interface Connection {
  /** May hold a path prefix; without user, query and fragment. */
  readonly url: URL;
  readonly token: string | null;
  /** For a person: where address and token come from. */
  readonly origin: string;
  readonly retry: RetryPolicy;
  /** Names that uploads leave out; null when the configuration says nothing about it. */
  readonly defaultExclude: readonly string[] | null;
}

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = '8080';

const fileSchema = z.object({
  api_host: z.string().min(1).optional(),
  api_port: z.number().int().min(1).max(65_535).optional(),
  api_token: z.string().min(1).optional(),
  default_exclude: z.array(z.string().min(1)).optional(),
  retry_max_attempts: z.number().int().min(1).max(100).optional(),
  retry_base_delay_ms: z.number().int().min(0).max(600_000).optional(),
  retry_max_delay_ms: z.number().int().min(0).max(600_000).optional(),
});
type ConfigFile = z.infer<typeof fileSchema>;

/**
 * Finds the server: flags, then `FLASHPODS_*`, then `~/.config/flashpods/config.json`, then a server that `up`
 * started on this machine. The token of this machine's own server is sent to an address of this machine only,
 * and never to an address that nobody named and where nothing of ours is known to run.
 * @throws ClientError wrong_settings, not_reachable (nothing says where a server is)
 */
export async function discoverConnection(
  flags: ConnectionFlags,
  env: ClientEnvironment,
): Promise<Connection> {
  const path = join(env.home, '.config', 'flashpods', 'config.json');
  const file = await readConfigFile(path);
  const given = flags.token ?? env.token ?? file.api_token;
  if (given !== undefined && !/^[\x21-\x7e]+$/.test(given)) {
    throw new ClientError('wrong_settings', 'The token holds a space or a character that no token has.');
  }
  const settings = {
    retry: {
      maxAttempts: file.retry_max_attempts ?? DEFAULT_RETRY.maxAttempts,
      baseDelayMs: file.retry_base_delay_ms ?? DEFAULT_RETRY.baseDelayMs,
      maxDelayMs: file.retry_max_delay_ms ?? DEFAULT_RETRY.maxDelayMs,
    },
    defaultExclude: file.default_exclude ?? null,
  };

  const named = namedAddress(flags, env, file, path);
  if (named) {
    const token = given ?? (isLoopback(named.url) ? await readToken(env.tokenFile) : null);
    return { ...named, token, ...settings };
  }
  const local = await findLocalServer(env.runPath);
  if (local) {
    const url = parseUrl(local.url, local.file);
    return { url, token: given ?? (await readToken(env.tokenFile)), origin: local.file, ...settings };
  }
  if (given === undefined) {
    throw new ClientError('not_reachable', 'No server is configured, and none runs on this machine.');
  }
  const url = addressUrl(DEFAULT_HOST, DEFAULT_PORT, 'the default address');
  return { url, token: given, origin: 'the default address', ...settings };
}

function namedAddress(
  flags: ConnectionFlags,
  env: ClientEnvironment,
  file: ConfigFile,
  path: string,
): { url: URL; origin: string } | null {
  const host = env.host ?? file.api_host ?? DEFAULT_HOST;
  const port = env.port ?? (file.api_port === undefined ? DEFAULT_PORT : String(file.api_port));
  if (flags.url !== undefined) return { url: parseUrl(flags.url, '--url'), origin: '--url' };
  if (flags.host !== undefined || flags.port !== undefined) {
    const origin = '--host and --port';
    return { url: addressUrl(flags.host ?? host, flags.port ?? port, origin), origin };
  }
  if (env.url !== undefined) return { url: parseUrl(env.url, 'FLASHPODS_URL'), origin: 'FLASHPODS_URL' };
  if (env.host !== undefined || env.port !== undefined) {
    const origin = 'FLASHPODS_HOST and FLASHPODS_PORT';
    return { url: addressUrl(host, port, origin), origin };
  }
  if (file.api_host !== undefined || file.api_port !== undefined) {
    return { url: addressUrl(host, port, path), origin: path };
  }
  return null;
}

async function readConfigFile(path: string): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(cause) ?? '')) return {};
    throw new ClientError('wrong_settings', `${path} can't be read: ${messageOf(cause)}`, { cause });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ClientError('wrong_settings', `${path} is not JSON.`, { cause });
  }
  const parsed = fileSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ClientError(
    'wrong_settings',
    `${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong'}`,
  );
}

async function readToken(path: string): Promise<string | null> {
  try {
    const token = (await readFile(path, 'utf8')).trim();
    return token === '' ? null : token;
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new ClientError('wrong_settings', `The token in ${path} can't be read (${code ?? 'unknown'}).`, {
      advice: 'Set FLASHPODS_API_TOKEN, or run as the user who started the server.',
      cause,
    });
  }
}

function addressUrl(host: string, port: string, origin: string): URL {
  if (!/^\d{1,5}$/.test(port))
    throw new ClientError('wrong_settings', `${origin}: ${JSON.stringify(port)} is not a port.`);
  const bracketed = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
  if (/[/?#@\s]/.test(host))
    throw new ClientError('wrong_settings', `${origin}: ${JSON.stringify(host)} is not a host.`);
  return parseUrl(`http://${bracketed}:${port}`, origin);
}

function parseUrl(text: string, origin: string): URL {
  const url = URL.parse(text);
  if (
    !url ||
    !['http:', 'https:'].includes(url.protocol) ||
    url.username !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new ClientError('wrong_settings', `${origin}: ${JSON.stringify(text)} is not http://HOST:PORT.`);
  }
  return url;
}

const isLoopback = ({ hostname }: URL): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
