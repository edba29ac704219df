import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, it } from 'mocha';
import { shellCommand } from '../../src/cli/shell-quote.ts';

/** The words that a command gets, as a real shell splits the line. */
const wordsIn = (line: string): string[] => {
  const output = execFileSync('/bin/sh', ['-c', `f() { printf '%s\\0' "$@"; }; f ${line}`], {
    encoding: 'utf8',
  });
  return output.split('\0').slice(0, -1);
};

describe('the command after --', () => {
  it('is a shell command as it is when it is one argument', () => {
    assert.equal(shellCommand(['make && echo "$HOME" | tee x']), 'make && echo "$HOME" | tee x');
  });

  it('stays readable when its words need no quotes', () => {
    assert.equal(shellCommand(['make', '-j4', 'CC=gcc', './x/y.z']), 'make -j4 CC=gcc ./x/y.z');
  });

  it('gets exactly its words when they are several', () => {
    const word = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: fc.constantFrom(...`'"\\$\`!*?[]{}()<>|&;#~=% \n\t-a`) }),
    );
    const words = fc.array(
      word.filter((text) => !text.includes('\0') && text.isWellFormed()),
      { minLength: 2, maxLength: 6 },
    );
    fc.assert(
      fc.property(words, (given) => {
        assert.deepEqual(wordsIn(shellCommand(given)), given);
      }),
      { numRuns: 200 },
    );
  });

  it('is a command even where its first word looks like syntax', () => {
    for (const first of ['A=1', 'if', '!', '{', 'while', 'a b']) {
      const line = shellCommand([first, 'x']);
      assert.throws(() => execFileSync('/bin/sh', ['-c', line], { stdio: 'pipe' }), { status: 127 }, line);
    }
  });
});
