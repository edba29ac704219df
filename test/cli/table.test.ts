import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { table } from '../../src/cli/table.ts';
import { shorten } from '../../src/cli/terminal.ts';

/** Columns of a terminal that come before the second cell: two for each of these characters. */
const cellsBefore = (line: string, second: string): number => {
  const before = line.slice(0, line.indexOf(second));
  return [...before].reduce((sum, character) => sum + (/[\u4e00-\u9fff😀]/u.test(character) ? 2 : 1), 0);
};

describe('a table', () => {
  it('aligns characters that take two columns, or none', () => {
    const lines = table(
      [{ title: 'name' }, { title: 'state' }],
      [
        ['编译项目', 'one'],
        ['plain', 'two'],
        ['😀', 'three'],
        ['e\u0301te\u0301', 'four'], // accents that stand on the letter before
      ],
    );
    assert.deepEqual(
      lines.slice(0, 4).map((line, at) => cellsBefore(line, ['state', 'one', 'two', 'three'][at] ?? '')),
      [10, 10, 10, 10],
    );
    assert.equal(lines[4], `e\u0301te\u0301${' '.repeat(7)}four`);
  });

  it('aligns numbers at their last digit', () => {
    assert.deepEqual(
      table(
        [{ title: 'n', right: true }, { title: 'x' }],
        [
          ['1', 'a'],
          ['100', 'b'],
        ],
      ),
      ['  n  x', '  1  a', '100  b'],
    );
  });

  it('is not made wider than the terminal by its cells: they are cut by columns', () => {
    assert.equal(shorten('编译项目', 8), '编译项目');
    assert.equal(shorten('编译项目', 7), '编译项…');
    assert.equal(shorten('编译项目', 6), '编译…');
    assert.equal(shorten('plain', 4), 'pla…');
  });
});
