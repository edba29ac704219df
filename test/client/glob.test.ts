import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { execa, execaSync } from 'execa';
import fc from 'fast-check';
import { before, describe, it } from 'mocha';
import { matches, parsePattern, parsePatterns } from '../../src/client/upload/glob.ts';
import { scratch } from '../support/scratch.ts';
import { SEED } from '../support/seed.ts';

/** Pieces that mean something in a pattern, in any order. */
const piece = fc.constantFrom(
  ...[
    'a',
    'b',
    'ab',
    'x.o',
    '*',
    '**',
    '***',
    '?',
    '/',
    '/',
    '\\',
    '\\*',
    '\\[',
    ' ',
    '\\ ',
    '!',
    '#',
    '-',
    '.',
    '\xc3\xa9',
  ],
  ...[
    '[ab]',
    '[!a]',
    '[^b]',
    '[a-c]',
    '[]a]',
    '[!]]',
    '[a',
    '[]',
    '[[:alpha:]]',
    '[[:digit:]x]',
    '[[:nope:]]',
    '[\\]]',
    '[a-]',
  ],
  ...['[c-a]', '[[:a]', '[/]', '[!/]', '**/', '/**', '/**/', '{a,b}', '$', '^', '+', '(', '|'],
);
const PATHS = [
  ...[
    'a',
    'b',
    'ab',
    'x.o',
    'a/b',
    'a/a',
    'b/x.o',
    'a/b/x.o',
    'a/b/ab',
    'ab/a/b',
    'a/ab/b/x.o',
    '!a',
    '#a',
    'a ',
    'a*',
    '[',
    ']',
  ],
  ...[
    '-',
    '\xc3\xa9',
    'a/\xc3\xa9',
    'a\\b',
    '{a,b}',
    '1',
    'c/1',
    'a/b/c/d/e',
    'b/b/b',
    '.',
    'a.b',
    '^',
    '$a',
    '+',
    '(',
    '|',
  ],
].filter((path) => path !== '.');

describe('patterns of what is left out', () => {
  const directory = scratch();
  before(async () => {
    await directory.make();
    await execa('git', ['init', '-q', directory.path()]);
  });

  /** What git says of each path under each pattern: every pattern is the .gitignore of a directory of its own. */
  const askGit = (patterns: readonly string[]): string[][] => {
    for (const [index, pattern] of patterns.entries()) {
      mkdirSync(directory.path(String(index)), { recursive: true });
      writeFileSync(directory.path(String(index), '.gitignore'), Buffer.from(`${pattern}\n`, 'latin1'));
    }
    const { stdout } = execaSync('git', ['check-ignore', '--no-index', '-z', '--stdin'], {
      cwd: directory.path(),
      input: Buffer.from(
        patterns.flatMap((_, index) => PATHS.map((path) => `${index}/${path}\0`)).join(''),
        'latin1',
      ),
      encoding: 'buffer',
      reject: false,
    });
    const said = Buffer.from(stdout).toString('latin1').split('\0').filter(Boolean);
    return patterns.map((_, index) =>
      said
        .filter((path) => path.startsWith(`${index}/`))
        .map((path) => path.slice(path.indexOf('/') + 1))
        .sort(),
    );
  };
  /** As git does: what lies below something that matches is ignored with it. No path is a directory but on the way. */
  const ask = (pattern: string): string[] => {
    const parsed = parsePattern(pattern);
    if (!parsed || parsed.isNegated) return [];
    return PATHS.filter((path) => {
      const segments = path.split('/');
      return segments.some((_, index) =>
        matches(parsed, segments.slice(0, index + 1).join('/'), index + 1 < segments.length),
      );
    }).sort();
  };

  it('are what git takes them for', () => {
    const pattern = fc.array(piece, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 200, maxLength: 200 }), (patterns) => {
        for (const [index, said] of askGit(patterns).entries()) {
          const one = patterns[index] ?? '';
          assert.deepEqual(ask(one), said, JSON.stringify(one));
        }
      }),
      { numRuns: 5, seed: SEED, endOnFailure: true },
    );
  });

  it('take no time on names that they nearly match, however many stars they have', () => {
    const nearly = 'a/'.repeat(1_000);
    for (const [pattern, path] of [
      ['*a'.repeat(60) + '*b', 'a'.repeat(255)],
      ['**/a/'.repeat(60) + 'b', nearly],
      ['/' + 'a*/'.repeat(60) + '**/b', nearly],
      ['[!b]*?*'.repeat(30) + 'b', 'a'.repeat(255)],
    ] as const) {
      const parsed = parsePattern(pattern);
      assert.ok(parsed);
      assert.equal(matches(parsed, path, false), false, pattern);
      assert.equal(matches(parsed, `${path}b`, false), true, pattern);
    }
  });

  it('tell upper from lower case as git does where that is asked for: of ASCII alone', () => {
    const isMatch = (pattern: string, name: string): boolean => {
      const parsed = parsePattern(pattern, { ignoreCase: true });
      return parsed !== null && matches(parsed, name, false);
    };
    assert.deepEqual(
      [isMatch('*.O', 'x.o'), isMatch('[A-C]x', 'BX'), isMatch('[!a]', 'A'), isMatch('\xc9', '\xe9')],
      [true, true, false, false],
    );
  });

  it('come from files with any line ends, comments and a mark of their encoding', () => {
    const texts = parsePatterns('\xef\xbb\xbf*.o\r\n# no\n\n!keep.o  \n/build/\nlast').map(
      ({ text }) => text,
    );
    assert.deepEqual(texts, ['*.o', '!keep.o  ', '/build/', 'last']);
  });
});
