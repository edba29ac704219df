/** `~/.config/flashpods/config.json`: what a person says once for all commands. */
import { join } from 'node:path';
import { messageOf, systemCode } from '../errors.ts';
import { ClientError } from './client-error.ts';

// Not by `import`: see environment.ts.
const { readFileSync } = process.getBuiltinModule('node:fs');

/** Every field may be left out; fields of other names are left alone. */
export interface ConfigFile {
  readonly api_host?: string;
  readonly api_port?: number;
  readonly api_token?: string;
  /** Where the rsync daemon is reached, when that is not the address that the API gives. */
  readonly rsync_host?: string;
  readonly default_exclude?: readonly string[];
  readonly retry_max_attempts?: number;
  readonly retry_base_delay_ms?: number;
  readonly retry_max_delay_ms?: number;
}

interface Rule {
  readonly accepts: (value: unknown) => boolean;
  readonly expected: string;
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const text: Rule = { accepts: isText, expected: 'text' };
const integer = (min: number, max: number): Rule => ({
  accepts: (value) => typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max,
  expected: `a whole number from ${min} to ${max}`,
});

/** Every field of the file, and what it takes. Checked without a schema library: each command reads this file. */
const RULES: Readonly<Record<keyof ConfigFile, Rule>> = {
  api_host: text,
  api_port: integer(1, 65_535),
  api_token: text,
  rsync_host: { accepts: (value) => isText(value) && /^[^/?#@\s]+$/.test(String(value)), expected: 'a host' },
  default_exclude: {
    accepts: (value) => Array.isArray(value) && value.every(isText),
    expected: 'a list of names',
  },
  retry_max_attempts: integer(1, 100),
  retry_base_delay_ms: integer(0, 600_000),
  retry_max_delay_ms: integer(0, 600_000),
};

export const configFilePath = (home: string): string => join(home, '.config', 'flashpods', 'config.json');

/** An empty object where there is no file. @throws ClientError wrong_settings */
export function readConfigFile(path: string): ConfigFile {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(cause) ?? '')) return {};
    throw new ClientError('wrong_settings', `${path} can't be read: ${messageOf(cause)}`, { cause });
  }
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch (cause) {
    throw new ClientError('wrong_settings', `${path} is not JSON.`, { cause });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ClientError('wrong_settings', `${path} holds no JSON object.`);
  const fields = json as Readonly<Record<string, unknown>>;
  for (const [name, { accepts, expected }] of Object.entries(RULES)) {
    if (fields[name] !== undefined && !accepts(fields[name]))
      throw new ClientError('wrong_settings', `${path}: ${name} must be ${expected}.`);
  }
  return fields;
}
