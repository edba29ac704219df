import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { linesOf } from '../../src/mcp/log-text.ts';
import { clip } from '../../src/mcp/printable.ts';
import { beginningOf, endOf } from '../../src/observability/cut-text.ts';

describe('a text that is cut', () => {
  it('is cut between characters, wherever', () => {
    const text = 'a😀b😀😀c';
    for (let max = 0; max <= text.length + 2; max++) {
      const [beginning, end] = [beginningOf(text, max), endOf(text, max)];
      assert.ok(text.startsWith(beginning) && text.endsWith(end));
      for (const part of [beginning, end]) {
        assert.ok(part.isWellFormed() && part.length <= max, JSON.stringify([max, part]));
        assert.ok(part.length >= Math.min(text.length, max) - 1);
      }
    }
  });

  it('loses no character in a line for a model, in pieces of any length', () => {
    for (const length of [1, 999, 1000, 1001, 2500]) {
      const text = `${'x'.repeat(length)}${'😀'.repeat(3000)}`;
      const pieces = [text.slice(0, length), ...(text.slice(length).match(/.{1,700}/gu) ?? [])];
      const records = pieces.map((piece, at) => ({
        seq: 1,
        time: '',
        stream: 'stdout' as const,
        text: piece,
        ...(at < pieces.length - 1 ? { partial: true as const } : {}),
      }));
      const [line] = linesOf(records);
      assert.doesNotMatch(line?.text ?? '', /\uFFFD/);
      const [, head = '', left = '', tail = ''] =
        /^(.*) …\[(\d+) characters left out\]… (.*)$/u.exec(line?.text ?? '') ?? [];
      assert.ok(text.startsWith(head) && text.endsWith(tail));
      assert.equal(head.length + Number(left) + tail.length, text.length);
    }
    assert.doesNotMatch(clip('😀'.repeat(400), 101), /\uFFFD/);
  });
});
