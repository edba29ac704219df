import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { LogLine } from '../../src/client/answers.ts';
import { excerpt, linesOf } from '../../src/mcp/log-text.ts';
import { clip, printable } from '../../src/mcp/printable.ts';

let seq = 0;
const record = (text: string, more: Partial<LogLine> = {}): LogLine => ({
  seq: (seq += 1),
  time: '2026-01-01T00:00:00.000Z',
  stream: 'stdout',
  text,
  ...more,
});
const lines = (...texts: string[]) => texts.map((text, i) => ({ seq: i + 1, text }));

describe('text of a log for a model', () => {
  it('has no escape sequences and no control characters', () => {
    assert.equal(printable('\u001b[31mred\u001b[0m\u0007 a\tb'), 'red\uFFFD a    b');
    assert.equal(printable('left\u202eright'), 'left\uFFFDright');
  });

  it('shows of a progress bar what stood there last', () => {
    assert.equal(printable('10 %\r 50 %\r100 %\r'), '100 %');
    assert.equal(printable('\r\r'), '');
  });

  it('counts a line of binary instead of showing it', () => {
    const bytes = Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 7919) % 256)).toString('utf8');
    assert.equal(printable(bytes), `[binary: ${bytes.length} characters]`);
  });

  it('keeps text of every script', () => {
    assert.equal(printable('Größe 大きさ размер 😀'), 'Größe 大きさ размер 😀');
  });

  it('says how many characters it left out of the middle, and splits no character', () => {
    const text = clip('😀'.repeat(1_000), 99);
    assert.ok(text.length <= 101, String(text.length));
    assert.match(text, /…\[\d+ characters left out\]…/);
    assert.ok(text.isWellFormed());
  });

  it('puts the pieces of an overlong line together, each stream by itself', () => {
    const out = linesOf([
      record('a', { partial: true }),
      record('x', { stream: 'stderr', partial: true }),
      record('b'),
      record('y', { stream: 'stderr' }),
      record('pulled', { stream: 'system' }),
    ]);
    assert.deepEqual(
      out.map(({ text }) => text),
      ['ab', 'xy', '[flashpods] pulled'],
    );
  });

  it('of a line of gigabytes keeps beginning and end', () => {
    const piece = 'z'.repeat(65_536);
    const out = linesOf([
      record(`begin${piece}`, { partial: true }),
      ...Array.from({ length: 60 }, () => record(piece, { partial: true })),
      record(`${piece}end`),
    ]);
    assert.equal(out.length, 1);
    const text = out[0]?.text ?? '';
    assert.ok(text.length < 2_200, String(text.length));
    assert.ok(text.startsWith('begin') && text.endsWith('end'));
    assert.match(text, /\[\d+ characters left out\]/);
  });

  it('takes as many of the last lines as there are bytes for', () => {
    assert.deepEqual(excerpt(lines('aaaa', 'bbbb', 'cccc'), 10), {
      text: 'bbbb\ncccc',
      lines: 2,
      omitted: 1,
    });
    assert.deepEqual(excerpt(lines('aaaa', 'bbbb', 'cccc'), 10, 'start'), {
      text: 'aaaa\nbbbb',
      lines: 2,
      omitted: 1,
    });
    assert.deepEqual(excerpt([], 10), { text: '', lines: 0, omitted: 0 });
  });

  it('counts bytes, not characters, and shows a part of a line that alone is too long', () => {
    const { text, lines: shown } = excerpt(lines('a', 'ü'.repeat(2_000)), 300);
    assert.equal(shown, 1);
    assert.ok(Buffer.byteLength(text) <= 300, String(Buffer.byteLength(text)));
  });
});
