/**
 * `npm run repositories -- [--without-jobs] [--shape NAME]… SOURCE…`: the trees of real repositories arrive in jobs as git has them.
 *
 * A source is a work tree, which is sent as it is and then cloned; a bare repository or an address, which is cloned; or
 * `debian:PACKAGE`, a source package that becomes a repository. Each goes as it is and in two of the forms of
 * repositories/shapes.ts in turn (or in those that are named), by HTTP and by rsync, with and without `--git`, and once
 * more after changes. A job lists names, modes, times, links and SHA-256, and what git says; both are compared with what
 * find, sha256sum and git say here. `--without-jobs` looks at the snapshots instead, which jobs get as they are. Takes this machine's image `base` and, for the form `installed`, npm's registry and
 * python3-venv. Exit status 1 when something differs.
 */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { NO_RETRY } from '../../src/client/connection.ts';
import { FlashpodsClient } from '../../src/client/client.ts';
import { fetchArtifacts } from '../../src/client/fetch-artifacts.ts';
import { type DirectoryOptions, uploadDirectory } from '../../src/client/upload/directory.ts';
import { startApi } from '../api/running-api.ts';
import type { Caller } from '../support/http.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { startStack } from '../support/stack.ts';
import {
  differences,
  expectedPaths,
  gitDifferences,
  isWorkTree,
  LIST,
  type Listing,
  nameOf,
  parseListing,
} from './repositories/compare.ts';
import { addContent, addDirt, change, git, SHAPES } from './repositories/shapes.ts';

const SOURCE = new URL('../real-projects/source', import.meta.url).pathname;
/** A job on a busy machine takes its time. */
const LONGEST_MS = 600_000;
const MOST_SHOWN = 12;
const ROOMY = {
  oneBytes: 2 ** 33,
  totalBytes: 2 ** 35,
  openMs: LONGEST_MS,
  unusedMs: 6 * LONGEST_MS,
  idleMs: LONGEST_MS,
};
/** Snapshots belong to the ids of containers. */
const OWNED_BY_ANYBODY = {
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'safe.directory',
  GIT_CONFIG_VALUE_0: '*',
};

const { values, positionals } = parseArgs({
  options: { shape: { type: 'string', multiple: true }, 'without-jobs': { type: 'boolean' } },
  allowPositionals: true,
});
const wanted = values.shape ?? [];
const unknown = wanted.filter((name) => name !== 'plain' && !(name in SHAPES));
if (unknown.length > 0 || positionals.length === 0)
  throw new Error(
    `usage: npm run repositories -- [--without-jobs] [--shape plain|${Object.keys(SHAPES).join('|')}]… SOURCE…`,
  );

const scratch = await temporaryDirectory();
const farm = await start();
const { dir, caller } = farm;
let trees = 0;
let looks = 0;
let failed = 0;

/** An API with its rsync daemon; with a worker beside it where jobs are to run. */
async function start(): Promise<{ dir: string; caller: Caller; stop(): Promise<void> }> {
  if (values['without-jobs']) return startApi({ rsync: true, limits: ROOMY });
  return startStack({
    workers: [{ name: 'farm', cpus: 2, memoryGb: 4 }],
    env: { FLASHPODS_RSYNC_ADDR: '127.0.0.1:0', FLASHPODS_UPLOADS_TOTAL_MB: '32000' },
  });
}

/** What was there, and what of it has to arrive. */
interface Outside {
  readonly before: Listed;
  readonly expected: ReadonlySet<string>;
}

async function outside(directory: string, includes: readonly string[]): Promise<Outside> {
  const before = await listHere(directory, true);
  return { before, expected: await expectedPaths(directory, before.listing, includes) };
}

interface Listed {
  readonly listing: Listing;
  readonly git: string;
}

/** What {@link LIST} says of a directory of this machine. */
async function listHere(directory: string, withGit: boolean): Promise<Listed> {
  const out = await mkdtemp(join(scratch.path, 'here-'));
  await execa('bash', ['-c', LIST], {
    cwd: directory,
    env: { OUT: out, GIT: withGit ? '1' : '0', ...OWNED_BY_ANYBODY },
  });
  return readLists(out, withGit);
}

const readLists = (out: string, withGit: boolean): Listed => ({
  listing: parseListing(readFileSync(join(out, 'list'), 'latin1'), readFileSync(join(out, 'sums'), 'latin1')),
  git: withGit ? readFileSync(join(out, 'git'), 'utf8') : '',
});

async function listInJob(client: FlashpodsClient, filesId: string, withGit: boolean): Promise<Listed> {
  const { job_id: id } = await client.createJob({
    ...{ type: 'worker', network: 'none', cpus: 1, memory_gb: 1, timeout_minutes: 30, files_id: filesId },
    ...{ command: `export OUT=/artifacts GIT=${withGit ? 1 : 0}; bash -c "$LIST"`, env: { LIST } },
  });
  const ended = await caller.ended(id, LONGEST_MS);
  if (ended.status !== 'completed') throw new Error(JSON.stringify(ended));
  const out = await mkdtemp(join(scratch.path, 'job-'));
  for await (const one of fetchArtifacts(client, id, await client.artifacts(id), out, { force: true }))
    if ('error' in one) throw one.error;
  const lists = readLists(out, withGit);
  await rm(out, { recursive: true });
  return lists;
}

/** Sends a directory, and compares what a job sees. @returns what differs, and how it went */
async function send(
  directory: string,
  { before, expected }: Outside,
  cacheDir: string,
  options: DirectoryOptions,
): Promise<{ problems: string[]; how: string }> {
  const withGit = options.git ?? false;
  const client = new FlashpodsClient({
    ...{ url: new URL(caller.url), token: caller.token, origin: 'here', retry: NO_RETRY },
    ...{ defaultExclude: null, rsyncHost: null, cacheDir },
  });
  try {
    const notices: string[] = [];
    const { upload, sent } = await uploadDirectory(client, directory, {
      ...options,
      onNotice: (text) => notices.push(text),
    });
    const inside = values['without-jobs']
      ? await listHere(join(dir, 'uploads/snapshots', `${upload.upload_id}.layer`, 'work'), withGit)
      : await listInJob(client, upload.upload_id, withGit);
    looks += 1;
    const problems = [
      ...differences(before.listing, expected, inside.listing),
      ...(withGit ? gitDifferences(before.git, inside.git) : []),
    ];
    if (process.env['REPOSITORIES_NOTICES']) for (const text of notices) console.log(`       note: ${text}`);
    return { problems, how: `${sent.transport} ${sent.files}/${expected.size}` };
  } finally {
    client.close();
  }
}

async function tryAll(
  name: string,
  shape: string,
  directory: string,
  includes: readonly string[],
  isOurs: boolean,
): Promise<void> {
  trees += 1;
  const began = performance.now();
  const problems: string[] = [];
  const hows: string[] = [];
  const isComposed = ['worktree', 'bareWorktree', 'alternates', 'separate'].includes(shape);
  const one = async (transport: 'http' | 'rsync', withGit: boolean, cacheDir: string): Promise<void> => {
    // A `.git` that is put together from elsewhere goes over HTTP alone.
    const way = transport === 'rsync' && withGit && isComposed ? 'auto' : transport;
    const found = await send(directory, there, cacheDir, { transport: way, git: withGit, includes }).catch(
      (error: unknown) => ({ problems: [String(error)], how: 'failed' }),
    );
    hows.push(found.how);
    problems.push(...found.problems.map((line) => `${transport}${withGit ? ' --git' : ''}: ${line}`));
  };
  const cache = await mkdtemp(join(scratch.path, 'cache-'));
  let there = await outside(directory, includes);
  for (const transport of ['http', 'rsync'] as const)
    for (const withGit of [false, true]) await one(transport, withGit, join(cache, `${transport}${withGit}`));
  if (isOurs) {
    await change(directory);
    there = await outside(directory, includes);
    for (const transport of ['http', 'rsync'] as const)
      await one(transport, true, join(cache, `${transport}true`));
  }
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  console.log(
    `${problems.length === 0 ? 'ok  ' : 'FAIL'} ${name} ${shape}: ${hows.join(', ')}, ${seconds} s`,
  );
  for (const line of problems.slice(0, MOST_SHOWN)) console.log(`     ${line}`);
  if (problems.length > MOST_SHOWN) console.log(`     and ${problems.length - MOST_SHOWN} more`);
  if (problems.length > 0) failed += 1;
}

async function makeSeed(source: string, at: string): Promise<string> {
  await git('/', 'clone', '--quiet', source, at);
  await addContent(at);
  return at;
}

/** A repository of a Debian source package, as somebody would begin one. */
async function fromDebian(name: string): Promise<string> {
  const sources = process.env['REAL_PROJECTS_SOURCES'] ?? join(scratch.path, 'debian');
  await mkdir(sources, { recursive: true });
  const at = join(sources, name);
  if (!isWorkTree(at)) {
    await execa(SOURCE, [sources, name], { stdio: ['ignore', 'ignore', 'inherit'] });
    await git(at, 'init', '--quiet', '--initial-branch', 'main');
    await git(at, 'add', '--all');
    await git(at, 'commit', '--quiet', '--message', `${name}, as Debian has it`);
  }
  return at;
}

try {
  const sources: string[] = [];
  for (const source of positionals)
    sources.push(source.startsWith('debian:') ? await fromDebian(source.slice('debian:'.length)) : source);
  const seeds = new Map<string, Promise<string>>();
  const seedOf = (index: number): Promise<string> => {
    const source = sources[index % sources.length] ?? '';
    const seed =
      seeds.get(source) ?? makeSeed(source, join(scratch.path, 'seeds', `${seeds.size}-${nameOf(source)}`));
    seeds.set(source, seed);
    return seed;
  };
  const names = Object.keys(SHAPES);
  for (const [index, source] of sources.entries()) {
    const name = nameOf(source);
    const chosen =
      wanted.length > 0
        ? wanted
        : ['plain', ...[0, 1].map((n) => names[(2 * index + n) % names.length] ?? '')];
    for (const shape of chosen) {
      const home = await mkdtemp(join(scratch.path, 's-'));
      let at = join(home, 't');
      let includes: readonly string[] = [];
      if (shape === 'plain') {
        if (isWorkTree(source)) at = source;
        else await git('/', 'clone', '--quiet', '--recurse-submodules', source, at).catch(() => undefined);
      } else {
        const others = [await seedOf(index + 1), await seedOf(index + 2)] as const;
        includes = (await SHAPES[shape]?.({ seed: await seedOf(index), others, at })) ?? [];
        await addDirt(at);
      }
      await tryAll(name, shape, at, includes, shape !== 'plain');
      await rm(home, { recursive: true, force: true });
    }
  }
} finally {
  await farm.stop();
  await scratch.remove();
}
console.log(`${trees - failed} of ${trees} trees as they were, seen ${looks} times`);
process.exitCode = failed === 0 ? 0 : 1;
