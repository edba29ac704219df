import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { fenced } from '../../src/mcp/job-text.ts';

const shown = (text: string): string => {
  const block = fenced('output', text);
  return block.type === 'text' ? block.text.split('\n').slice(1, -1).join('\n') : '';
};

describe('what a job wrote, for a model', () => {
  it('has no line like ours, also behind blanks and signs', () => {
    for (const before of ['', '  ', '\t', '> ', '**', '\u0001', '\u00a0', '\u200b'])
      for (const ours of ['Next: x', 'what to do: x', '<<<0', '>>>'])
        assert.match(shown(`a\n${before}${ours}`), /^a\n\\/, JSON.stringify(before + ours));
    assert.equal(shown('a\n\n\nb'), 'a\n\n\nb');
  });

  it('takes time in proportion to its length', () => {
    const before = process.cpuUsage();
    shown('\n'.repeat(200_000));
    shown(' '.repeat(200_000));
    const { user } = process.cpuUsage(before);
    assert.ok(user < 2_000_000, `${user} µs`);
  });
});
