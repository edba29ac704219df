import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { withoutEscapes } from '../../src/observability/unsafe-text.ts';

describe('text without escape sequences', () => {
  it('has no colours, titles, links, character sets or cursor movements', () => {
    for (const escape of [
      '\u001b[0m',
      '\u001b[38;5;12m',
      '\u001b[?25l',
      '\u001b[2K',
      '\u009b31m',
      '\u001b]0;title\u0007',
      '\u001b]8;;https://example.com/?a=b\u001b\\',
      '\u001bP1$r0m\u001b\\',
      '\u001b(B',
      '\u001b7',
      '\u001b=',
      '\u001bM',
      '\u001bc',
    ])
      assert.equal(withoutEscapes(`a${escape}b`), 'ab', JSON.stringify(escape));
    assert.equal(withoutEscapes('[31m a; ]0;\tä 👍\n'), '[31m a; ]0;\tä 👍\n');
  });

  it('takes time by its length alone', () => {
    for (const hostile of [
      '\u001b]',
      '\u001b[',
      '\u001b[1',
      '\u001b]x',
      '\u009b1',
      '\u009d',
      '\u001b ',
      ';#',
    ]) {
      const text = `\u001b${hostile.repeat(1_000_000 / hostile.length)}`;
      const before = process.cpuUsage();
      withoutEscapes(text);
      const { user } = process.cpuUsage(before);
      assert.ok(user < 1_000_000, `${JSON.stringify(hostile)}: ${user} µs`);
    }
  });
});
