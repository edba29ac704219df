/**
 * The configuration of every process role: the settings of `settings.ts`, read from flags, then `FLASHPODS_*`, then the
 * file that `FLASHPODS_CONFIG` names, then defaults. A wrong value stops the start and is named. This is the only file
 * that reads the environment of a server; the client's part is `client/environment.ts`.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { defaultDataDirectory, defaultRunDirectory } from './default-directories.ts';
import { settingsSchema } from './settings.ts';

/** A wrong setting. Its message names the setting and says what to write; the process exits with 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export type SettingName = keyof z.infer<typeof settingsSchema>;
type Settings = z.infer<typeof settingsSchema>;

/** Settings in force: every default filled in, every path absolute. */
export interface Config extends Omit<
  Settings,
  'dataDir' | 'dbPath' | 'uploadsPath' | 'artifactsPath' | 'logsPath' | 'runPath' | 'hostName' | 'tokenFile'
> {
  readonly dataDir: string;
  readonly dbPath: string;
  readonly uploadsPath: string;
  readonly artifactsPath: string;
  readonly logsPath: string;
  readonly runPath: string;
  readonly hostName: string;
  readonly tokenFile: string;
}

/** `dbPath` → `FLASHPODS_DB_PATH`. */
export const variableOf = (setting: string): string =>
  `FLASHPODS_${setting.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

export type Flags = Partial<Record<SettingName, string | number | boolean | undefined>>;

/** Where the value of a setting came from. */
export interface Origin {
  readonly kind: 'flag' | 'variable' | 'file' | 'default';
  /** The flag, the variable or the file; empty for a default. */
  readonly name: string;
}

export type Origins = ReadonlyMap<string, Origin>;

/** @throws ConfigError that names every wrong setting and where it came from */
export const loadConfig = (flags: Flags = {}, env: NodeJS.ProcessEnv = process.env): Config =>
  explainConfig(flags, env).config;

/** As {@link loadConfig}, and says where each value came from; what has no entry is a default. */
export function explainConfig(
  flags: Flags = {},
  env: NodeJS.ProcessEnv = process.env,
): { readonly config: Config; readonly origins: Origins } {
  const raw: Record<string, unknown> = {};
  const origins = new Map<string, Origin>();
  const file = env['FLASHPODS_CONFIG'];
  for (const [name, value] of Object.entries(readFile(file))) {
    raw[name] = value;
    origins.set(name, { kind: 'file', name: file ?? '' });
  }
  for (const name of Object.keys(settingsSchema.shape)) {
    const variable = variableOf(name);
    // An empty variable is an unset one, as in most shells' idioms.
    if (env[variable] !== undefined && env[variable] !== '') {
      raw[name] = env[variable];
      origins.set(name, { kind: 'variable', name: variable });
    }
  }
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    raw[name] = value;
    origins.set(name, {
      kind: 'flag',
      name: `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    });
  }
  const parsed = settingsSchema.safeParse(raw);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => {
      if (issue.code === 'unrecognized_keys') return `unknown setting: ${issue.keys.join(', ')}`;
      const name = String(issue.path[0]);
      return `${describeOrigin(name, origins.get(name))}: ${issue.message}`;
    });
    throw new ConfigError(`wrong configuration\n  ${lines.join('\n  ')}`);
  }
  return { config: complete(parsed.data, env), origins };
}

function describeOrigin(setting: string, origin: Origin | undefined): string {
  if (origin === undefined) return variableOf(setting);
  return origin.kind === 'file' ? `\`${setting}\` in ${origin.name}` : origin.name;
}

function readFile(file: string | undefined): Record<string, unknown> {
  if (!file) return {};
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    throw new ConfigError(`FLASHPODS_CONFIG: ${file} can't be read as a JSON object`, { cause });
  }
}

function complete(settings: Settings, env: NodeJS.ProcessEnv): Config {
  const dataDir = resolve(settings.dataDir ?? defaultDataDirectory(env));
  const below = (given: string | undefined, name: string): string => resolve(given ?? join(dataDir, name));
  if (settings.heartbeatSeconds >= settings.leaseSeconds) {
    throw new ConfigError('FLASHPODS_HEARTBEAT_SECONDS must be less than FLASHPODS_LEASE_SECONDS');
  }
  return {
    ...settings,
    ...(settings.caFile === undefined ? {} : { caFile: resolve(settings.caFile) }),
    dataDir,
    dbPath: below(settings.dbPath, 'flashpods.db'),
    uploadsPath: below(settings.uploadsPath, 'uploads'),
    artifactsPath: below(settings.artifactsPath, 'artifacts'),
    logsPath: below(settings.logsPath, 'logs'),
    runPath: settings.runPath ? resolve(settings.runPath) : defaultRunDirectory(dataDir),
    hostName: settings.hostName ?? defaultHostName(),
    tokenFile: below(settings.tokenFile, 'token'),
  };
}

function defaultHostName(): string {
  const name = hostname()
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]/g, '-')
    .slice(0, 63)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '');
  return name === '' ? 'localhost' : name;
}
