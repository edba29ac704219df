import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { execaSync } from 'execa';
import fc from 'fast-check';
import { before, describe, it } from 'mocha';
import { listTree } from '../../src/client/upload/tree.ts';
import { scratch } from '../support/scratch.ts';
import { SEED } from '../support/seed.ts';

const NAMES = ['a', 'b', 'ab', 'x.o', 'B', 'b c', '!a', '#a', 'a*', '\xc3\xa9', '\xe9', 'a\\b', 'd ', '[a]'];
const name = fc.constantFrom(...NAMES);
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));
const segment = fc.oneof(
  { weight: 3, arbitrary: name },
  fc.constantFrom(
    '*',
    '**',
    '?',
    '*.o',
    'a*',
    '[ab]',
    '[!a]',
    '\\!a',
    '\\#a',
    'a\\*',
    'a\\\\b',
    'd\\ ',
    'd ',
    '.',
    '..',
  ),
);
/** Of every shape that gitignore(5) tells of. */
const pattern = fc
  .tuple(
    fc.constantFrom('', '', '!', '!'),
    fc.constantFrom('', '', '/'),
    fc.array(segment, { minLength: 1, maxLength: 3 }),
    fc.constantFrom('', '', '/', '/*', '/**', ' ', '\t', '\r'),
  )
  .map(([negation, anchor, segments, end]) => negation + anchor + segments.join('/') + end);
const rules = fc.array(
  fc.oneof({ weight: 9, arbitrary: pattern }, fc.constantFrom('', '# no', '!', '/', '*', '!*/')),
  {
    maxLength: 5,
  },
);

interface Project {
  readonly files: readonly string[];
  /** Of {@link files}: which of them git tracks, ignored or not. */
  readonly tracked: readonly boolean[];
  readonly ignores: readonly (readonly [directory: string, lines: readonly string[]])[];
}

const project: fc.Arbitrary<Project> = fc.record({
  files: fc.array(path, { minLength: 5, maxLength: 25 }),
  tracked: fc.array(
    fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
    { minLength: 25, maxLength: 25 },
  ),
  ignores: fc.array(fc.tuple(fc.oneof(fc.constant('.'), path), rules), { minLength: 1, maxLength: 4 }),
});

describe('what git ignores stays behind, in any tree', () => {
  const directory = scratch();
  let root = '';
  before(async () => {
    root = await directory.make();
    execaSync('git', ['init', '-q', root]);
  });

  const bytes = (at: string): Buffer => Buffer.from(`${root}/${at}`, 'latin1');
  const git = (args: readonly string[], input = ''): string =>
    Buffer.from(
      execaSync('git', args, { cwd: root, input: Buffer.from(input, 'latin1'), encoding: 'buffer' }).stdout,
    ).toString('latin1');
  const put = (at: string, text: string): boolean => {
    try {
      mkdirSync(bytes(dirname(at)), { recursive: true });
      writeFileSync(bytes(at), text, 'latin1');
      return true;
    } catch {
      return false; // there is a file where a directory would have to be, or the other way round
    }
  };

  /** Empties the work tree and the index, and makes each project in a directory of its own: git is asked once for all. */
  function make(projects: readonly Project[], exclude: readonly string[], ignoreCase: boolean): void {
    for (const at of readdirSync(root, 'latin1')) if (at !== '.git') rmSync(bytes(at), { recursive: true });
    rmSync(bytes('.git/index'), { force: true });
    git(['config', 'core.ignorecase', String(ignoreCase)]);
    writeFileSync(bytes('.git/info/exclude'), `${exclude.join('\n')}\n`, 'latin1');
    const wanted = projects.flatMap(({ files, tracked, ignores }, index) => {
      const there = files.filter((file) => put(`${index}/${file}`, ''));
      for (const [at, lines] of ignores) put(`${index}/${at}/.gitignore`, lines.join('\n'));
      return there.filter((_, at) => tracked[at]).map((file) => `${index}/${file}\0`);
    });
    const args = ['--literal-pathspecs', 'add', '-f', '--pathspec-from-file=-', '--pathspec-file-nul'];
    if (wanted.length > 0) git(args, wanted.join(''));
  }

  it('at any depth, with rules of every kind and files that git tracks all the same', async () => {
    const many = fc.array(project, { minLength: 60, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(many, rules, fc.boolean(), async (projects, exclude, ignoreCase) => {
        make(projects, exclude, ignoreCase);
        const said = git(['ls-files', '-z', '--cached', '--others', '--exclude-standard']);
        const theirs = [...new Set(said.split('\0').filter(Boolean))].sort();
        const { entries } = await listTree(root, { excludes: [], defaults: ['.git'] });
        const ours = entries.filter(({ type }) => type !== 'directory').map((entry) => entry.path);
        assert.deepEqual(ours.sort(), theirs);
      }),
      { numRuns: 4, seed: SEED, interruptAfterTimeLimit: 60_000 },
    );
  });
});
