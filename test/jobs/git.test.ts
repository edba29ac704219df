import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { BRANCH_PATTERN, isBranchName, isGitUrl } from '../../src/jobs/git.ts';

/** As `git branch` does: a name that could be an option or that means the current commit is no branch. */
const gitTakes = (name: string): boolean =>
  !name.startsWith('-') &&
  !['@', 'HEAD'].includes(name) &&
  spawnSync('git', ['check-ref-format', `refs/heads/${name}`]).status === 0;

describe('the name of a branch', () => {
  it('is what git takes for one', () => {
    const piece = fc.constantFrom(
      ...[
        'a',
        'B',
        '0',
        '-',
        '.',
        '..',
        '/',
        '//',
        '@',
        '{',
        '@{',
        '.lock',
        'lock',
        '~',
        '^',
        ':',
        '?',
        '*',
        '[',
      ],
      ...['\\', ' ', '\t', '\x7f', '\n', 'é', '🦆', 'HEAD', 'head', ']', '}', '_', '#', "'", '%', 'refs/'],
    );
    const name = fc.array(piece, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(''));
    const examples = [
      '@',
      'HEAD',
      'a.lock',
      'a.lock/b',
      '.a',
      'a/.b',
      'a.',
      'a/',
      '-a',
      'a-',
      'a@',
      '@a',
      'a.b',
    ];
    fc.assert(
      fc.property(name, (text) => {
        assert.equal(isBranchName(text), gitTakes(text));
      }),
      { numRuns: 150, examples: examples.map((example): [string] => [example]) },
    );
  });

  it('matches the pattern in the API’s document', () => {
    const pattern = new RegExp(BRANCH_PATTERN);
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii' }), (text) => !isBranchName(text) || pattern.test(text)),
    );
    assert.equal(pattern.test('a b'), false);
  });
});

describe('the address of a repository', () => {
  for (const url of [
    'https://github.com/owner/repo.git',
    'http://git.internal:3000/a',
    'git://10.0.0.1/x',
    'ssh://git@host.example:2222/~user/repo.git',
    'ssh://host/path',
    'https://[::1]/repo',
    'git@github.com:owner/repo.git',
  ])
    it(`may be ${url}`, () => assert.ok(isGitUrl(url)));

  for (const url of [
    'https://user:password@host/repo',
    'https://token@host/repo',
    'ssh://git:password@host/repo',
    'file:///etc',
    '/srv/repo.git',
    '../repo',
    'ext::sh -c id',
    'host::path',
    '-u./run',
    '--upload-pack=run',
    'ssh://-oProxyCommand=run/x',
    'ssh://-l@host/x',
    '-x@host:repo',
    'git@-host:repo',
    'https://host',
    'https://host/a b',
    'https://host/a\nb',
    'https:///repo',
    'ftp://host/repo',
    'javascript:alert(1)',
  ])
    it(`may not be ${JSON.stringify(url)}`, () => assert.ok(!isGitUrl(url)));
});
