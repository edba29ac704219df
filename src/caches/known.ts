/** The caches that have a place and variables of their own, and what a cache may be called and where it may lie. Pure. */
import { FlashpodsError } from '../errors.ts';
import { CACHE_MODES, DEFAULT_SCOPE, type GivenCache, type JobCache } from './cache.ts';

interface KnownCache {
  /** Where it lies unless a job says otherwise. */
  readonly path: string;
  /** By which its tool finds it; a job's own win. */
  readonly env: (path: string) => Readonly<Record<string, string>>;
  /** Texts in `/run/flashpods`, by file name. */
  readonly files?: (path: string) => Readonly<Record<string, string>>;
}

/** An image's user may have another home, so each tool is told by a variable. */
export const KNOWN_CACHES: Readonly<Record<string, KnownCache>> = {
  npm: { path: '/home/job/.npm', env: (path) => ({ npm_config_cache: path }) },
  cargo: { path: '/home/job/.cargo', env: (path) => ({ CARGO_HOME: path }) },
  go: {
    path: '/home/job/.cache/go',
    env: (path) => ({ GOMODCACHE: `${path}/mod`, GOCACHE: `${path}/build` }),
  },
  pip: { path: '/home/job/.cache/pip', env: (path) => ({ PIP_CACHE_DIR: path }) },
  maven: {
    path: '/home/job/.m2/repository',
    env: (path) => ({ MAVEN_OPTS: `-Dmaven.repo.local=${path}` }),
  },
  gradle: { path: '/home/job/.gradle', env: (path) => ({ GRADLE_USER_HOME: path }) },
  ccache: { path: '/home/job/.cache/ccache', env: (path) => ({ CCACHE_DIR: path }) },
  apt: {
    path: '/var/cache/flashpods/apt',
    env: () => ({ APT_CONFIG: '/run/flashpods/apt-conf' }),
    // A place of its own: images of Debian delete what lies in apt's usual one after each installation.
    files: (path) => ({
      'apt-conf': [
        `Dir::Cache::Archives "${path}/";`,
        'Binary::apt::APT::Keep-Downloaded-Packages "true";',
        'APT::Keep-Downloaded-Packages "true";',
        '',
      ].join('\n'),
    }),
  },
};

export const CACHE_NAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,62}$';
export const CACHE_PATH_PATTERN = '^(?:/[A-Za-z0-9._@+=~-]{1,100}){2,20}$';
export const CACHE_SCOPE_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._/@+-]{0,99}$';
export const MAX_CACHES = 16;

/** What Flashpods, the kernel and the engine have there. */
const TAKEN = /^\/(?:proc|sys|dev|etc|artifacts|run)(?:\/|$)|^\/(?:home\/job|var\/tmp)$/;

/** Where it lies in the container; null: nobody said. */
const pathOf = ({ name, path }: GivenCache): string | null => path ?? KNOWN_CACHES[name]?.path ?? null;

/** Why these can't be the caches of a job, for people, or null. */
export function cachesProblem(caches: readonly GivenCache[]): string | null {
  for (const cache of caches) {
    const path = pathOf(cache);
    if (path === null)
      return `the cache ${cache.name} needs a \`path\`; known by name alone: ${Object.keys(KNOWN_CACHES).join(', ')}`;
    if (path.split('/').some((segment) => segment === '.' || segment === '..') || TAKEN.test(path))
      return `a cache can't lie at ${path}`;
  }
  const names = caches.map(({ name }) => name);
  if (new Set(names).size !== names.length) return 'must not name a cache twice';
  const paths = caches.map(pathOf).sort();
  const nested = paths.find((path, at) => at > 0 && `${path}/`.startsWith(`${paths[at - 1]}/`));
  return nested === undefined ? null : `one cache lies at or in another: ${nested}`;
}

/** @param given such that {@link cachesProblem} has nothing to say */
export const cachesInForce = (given: readonly GivenCache[]): JobCache[] =>
  given.map((cache) => ({ name: cache.name, path: pathOf(cache) ?? '', mode: cache.mode ?? 'read' }));

/** `npm`, `npm:write`, `cargo:/home/job/.cargo`, `deps:/work/deps:write` @returns null for what is none of these */
export function readCache(text: string): GivenCache | null {
  const [name = '', ...parts] = text.split(':');
  const mode = CACHE_MODES.find((each) => each === parts.at(-1));
  const path = (mode === undefined ? parts : parts.slice(0, -1)).join(':');
  if (name === '' || (path !== '' && !path.startsWith('/'))) return null;
  return { name, ...(path === '' ? {} : { path }), ...(mode === undefined ? {} : { mode }) };
}

/** An agent does what nobody has looked at yet: what it keeps, only its branch finds. */
export const scopeOf = ({
  cacheScope,
  gitBranch,
}: {
  readonly cacheScope: string | null;
  readonly gitBranch: string | null;
}): string => cacheScope ?? gitBranch ?? DEFAULT_SCOPE;

/** What a job with these caches is told. */
export function toldOf(caches: readonly JobCache[]): {
  readonly env: Readonly<Record<string, string>>;
  readonly files: Readonly<Record<string, string>>;
} {
  const known = caches.flatMap(({ name, path }) => {
    const cache = Object.hasOwn(KNOWN_CACHES, name) ? KNOWN_CACHES[name] : undefined;
    return cache === undefined ? [] : [{ env: cache.env(path), files: cache.files?.(path) ?? {} }];
  });
  return {
    env: Object.assign({}, ...known.map(({ env }) => env)) as Record<string, string>,
    files: Object.assign({}, ...known.map(({ files }) => files)) as Record<string, string>,
  };
}

/** @throws FlashpodsError invalid_request for a cache in a `/work` that is read-only */
export function refuseCachesInWork({
  caches,
  writable,
}: {
  readonly caches: readonly GivenCache[];
  readonly writable: boolean | null;
}): void {
  const inside = caches.map(pathOf).find((path) => `${path}/`.startsWith('/work/'));
  if (inside === undefined || writable !== false) return;
  throw new FlashpodsError(
    'invalid_request',
    `A cache at ${inside} needs a \`/work\` that can be written to: set \`writable\`, or choose a place elsewhere.`,
    { details: { field: 'caches' } },
  );
}
