import { systemCode } from '../errors.ts';
import { ClientError } from './client-error.ts';
import { isLoopback } from './loopback.ts';
import { type ConfigFile, configFilePath, readConfigFile } from './config-file.ts';
import type { ClientEnvironment } from './environment.ts';
import type { RetryPolicy } from './retry.ts';

// Not by `import`: see environment.ts.
const { readFileSync } = process.getBuiltinModule('node:fs');

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
  /** Where the rsync daemon is reached; null: where the API says. */
  readonly rsyncHost: string | null;
  /** A server of this machine that lives said that it listens there: if nothing does now, it will again in a moment. */
  readonly isKept?: boolean;
  /** For what may be forgotten: which upload held a directory last, recent job ids. */
  readonly cacheDir: string;
  /** Where git’s ignore file of the user may lie; left out: `~/.config`. */
  readonly configHome?: string;
}

export const DEFAULT_RETRY: RetryPolicy = { maxAttempts: 5, baseDelayMs: 1_000, maxDelayMs: 30_000 };
/** For somebody who can't wait. */
export const NO_RETRY: RetryPolicy = { maxAttempts: 1, baseDelayMs: 0, maxDelayMs: 0 };
const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = '8080';

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
  const path = configFilePath(env.home);
  const file = readConfigFile(path);
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
    rsyncHost: file.rsync_host ?? null,
    cacheDir: env.cacheDir,
    configHome: env.configHome,
  };

  const named = namedAddress(flags, env, file, path);
  if (named) {
    const token = given ?? (isLoopback(named.url) ? readToken(env.tokenFile) : null);
    return { ...named, token, ...settings };
  }
  const { findLocalServer } = await import('./local-server.ts');
  const local = findLocalServer(env.runPath);
  if (local) {
    const url = parseUrl(local.url, local.file);
    return { url, token: given ?? readToken(env.tokenFile), origin: local.file, isKept: true, ...settings };
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

function readToken(path: string): string | null {
  try {
    const token = readFileSync(path, 'utf8').trim();
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
