/** What of the environment the client needs. Nothing of the server's settings is checked here, and nothing is loaded for it. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { defaultDataDirectory, defaultRunDirectory } from '../default-directories.ts';
import { systemCode } from '../errors.ts';

// `import` of node:fs or node:util reads every name that they export, and so loads all that Node itself would load only
// when it is used: a tenth of the time that Node takes to start. Completion waits for this file and those like it.
const { readFileSync } = process.getBuiltinModule('node:fs');

/** Where the client finds a server, in the order of `docs/configuration.md`. Only what was set. */
export interface ClientEnvironment {
  readonly url: string | undefined;
  readonly host: string | undefined;
  readonly port: string | undefined;
  readonly token: string | undefined;
  readonly home: string;
  readonly noColor: boolean;
  /** What may be deleted at any time lies here. */
  readonly cacheDir: string;
  /** Settings of other programs lie here: git’s ignore file of the user. */
  readonly configHome: string;
  readonly dataDir: string;
  readonly tokenFile: string;
  readonly runPath: string;
}

/** A file that `FLASHPODS_CONFIG` names and that can't be read is the server's to complain about. */
export function loadClientEnvironment(env: NodeJS.ProcessEnv): ClientEnvironment {
  const file = settingsFile(env['FLASHPODS_CONFIG']);
  const setting = (name: string, variable: string): string | undefined => {
    const value = env[variable] || file[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const home = env['HOME'] ?? homedir();
  const dataDir = resolve(setting('dataDir', 'FLASHPODS_DATA_DIR') ?? defaultDataDirectory(env));
  const runPath = setting('runPath', 'FLASHPODS_RUN_PATH');
  return {
    url: env['FLASHPODS_URL'] || undefined,
    host: env['FLASHPODS_HOST'] || undefined,
    port: env['FLASHPODS_PORT'] || undefined,
    token: env['FLASHPODS_API_TOKEN'] || undefined,
    home,
    noColor: (env['NO_COLOR'] ?? '') !== '',
    cacheDir: join(xdgHome(env['XDG_CACHE_HOME'], join(home, '.cache')), 'flashpods'),
    configHome: xdgHome(env['XDG_CONFIG_HOME'], join(home, '.config')),
    dataDir,
    tokenFile: resolve(setting('tokenFile', 'FLASHPODS_TOKEN_FILE') ?? join(dataDir, 'token')),
    runPath: runPath === undefined ? defaultRunDirectory(dataDir) : resolve(runPath),
  };
}

/** XDG Base Directory Specification: a relative path is invalid and is ignored. */
const xdgHome = (given: string | undefined, usual: string): string =>
  given !== undefined && isAbsolute(given) ? given : usual;

function settingsFile(path: string | undefined): Readonly<Record<string, unknown>> {
  if (!path) return {};
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) !== undefined) return {};
    throw error;
  }
}
