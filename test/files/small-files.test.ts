import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, it } from 'mocha';
import { ifMissing, ifThere } from '../../src/files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../../src/files/json-file.ts';
import { readFully, writeFully } from '../../src/files/read-fully.ts';
import { isDraft, writeWhole, writeWholeSync } from '../../src/files/write-whole.ts';
import { scratch } from '../support/scratch.ts';

describe('small files', () => {
  const directory = scratch();
  beforeEach(() => directory.make());

  it('that are not there become something else; every other error stays one', async () => {
    const missing = directory.path('missing');
    assert.equal(await readFile(missing).catch(ifMissing(null)), null);
    assert.equal(
      ifThere(() => readFileSync(missing), 'nothing'),
      'nothing',
    );
    assert.throws(() => ifThere(() => readFileSync(directory.path()), null), { code: 'EISDIR' });
    writeFileSync(directory.path('file'), '');
    const below = directory.path('file', 'below');
    await assert.rejects(readFile(below).catch(ifMissing(null)), { code: 'ENOTDIR' });
    assert.equal(await readFile(below).catch(ifMissing(null, 'ENOTDIR')), null);
  });

  for (const [name, write] of [
    ['at once', (path: string, text: string) => Promise.resolve(writeWholeSync(path, text))],
    ['by promise', (path: string, text: string) => writeWhole(path, text)],
    ['durably', (path: string, text: string) => writeWhole(path, text, { durable: true })],
  ] as const) {
    it(`are replaced whole, ${name}: who has the old one open reads it to its end`, async () => {
      mkdirSync(directory.path(name), { recursive: true });
      const path = directory.path(name, 'file');
      await write(path, 'old');
      const reader = await open(path);
      await write(path, 'the new one');
      assert.equal(await reader.readFile('utf8'), 'old');
      await reader.close();
      assert.equal(readFileSync(path, 'utf8'), 'the new one');
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.deepEqual(readdirSync(directory.path(name)), ['file']);
    });

    it(`leave no draft when the write fails, ${name}`, async () => {
      const folder = directory.path(`${name}, failing`);
      mkdirSync(join(folder, 'file', 'in-the-way'), { recursive: true });
      await assert.rejects(async () => write(join(folder, 'file'), 'text'));
      assert.deepEqual(readdirSync(folder).filter(isDraft), []);
    });
  }

  it('are written by several at once without one seeing the draft of another', async () => {
    const path = directory.path('shared');
    const texts = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(10_000));
    await Promise.all(texts.map((text) => writeWhole(path, text)));
    assert.ok(texts.includes(readFileSync(path, 'utf8')));
  });

  it('with JSON that a crash has cut are as good as missing', () => {
    const path = directory.path('record.json');
    assert.equal(readJsonFile(path), null);
    writeJsonFile(path, { a: 1 });
    assert.deepEqual(readJsonFile(path), { a: 1 });
    writeFileSync(path, '{"a"');
    assert.equal(readJsonFile(path), null);
    chmodSync(directory.path(), 0o700);
  });

  it('are read and written in full, though the kernel takes less at a time', async () => {
    const few = {
      bytes: Buffer.from('0123456789'),
      read(into: Uint8Array, offset: number, length: number, position: number) {
        const bytesRead = this.bytes.copy(
          into,
          offset,
          position,
          Math.min(position + Math.min(length, 3), 10),
        );
        return Promise.resolve({ bytesRead, buffer: into });
      },
      write(from: Uint8Array, offset: number, length: number, position: number) {
        const bytesWritten = Math.min(length, 3);
        this.bytes.set(from.subarray(offset, offset + bytesWritten), position);
        return Promise.resolve({ bytesWritten, buffer: from });
      },
    };
    const file = few as unknown as Awaited<ReturnType<typeof open>>;
    const bytes = Buffer.alloc(8);
    assert.equal(await readFully(file, bytes, 0), 8);
    assert.equal(bytes.toString(), '01234567');
    assert.equal(await readFully(file, bytes, 6), 4);
    await writeFully(file, Buffer.from('abcdefgh'), 1);
    assert.equal(few.bytes.toString(), '0abcdefgh9');
  });
});
