import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pipelines, pipeNote } from '../../processors/broken-pipe.ts';

describe('a pipe that ended with 141', () => {
  it('is split into its programs, quotes and comments respected', () => {
    assert.deepEqual(
      pipelines('a | b "x | y" |& c; d || e && f # g | h\ni >| j | \'k|l\' & m 2>&1 | n \\| o'),
      [['a', 'b "x | y"', 'c'], ['d'], ['e'], ['f'], ['i >| j', "'k|l'"], ['m 2>&1', 'n \\| o']],
    );
  });

  it('is explained by its programs where the text tells them', () => {
    assert.match(
      pipeNote('cd /work && find . | sort | head -5'),
      /^“sort” was ended .* “head -5” stopped reading/,
    );
    assert.match(pipeNote('set -e; yes | mytool'), /^“yes” was ended .* “mytool” stopped/);
    assert.match(pipeNote('strings a | grep -q x; make'), /^“strings a” .* “grep -q x”/);
    assert.match(pipeNote('a | head -1; b | head -2'), /^A program in a pipe was ended/);
    assert.match(pipeNote('./run'), /^A program in a pipe was ended .*`shell` set to `sh`/);
  });
});
