import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { LogPage } from '../../src/client/answers.ts';
import { saveLog } from '../../src/client/save-log.ts';
import { temporaryDirectory } from '../support/scratch.ts';

describe('a log that is saved to a file', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let target: string;
  beforeEach(async () => {
    directory = await temporaryDirectory();
    target = join(directory.path, 'to', 'log');
    await mkdir(join(directory.path, 'to'));
  });
  afterEach(() => directory.remove());

  const save = (force: boolean, meanwhile = (): Promise<void> => Promise.resolve()): Promise<number> => {
    const lines: LogPage['lines'] = [{ seq: 1, time: '', stream: 'stdout', text: 'hello' }];
    const page: LogPage = { lines, nextOffset: 6, totalBytes: 6, printedBytes: 6 };
    const log = async (): Promise<LogPage> => {
      await meanwhile();
      return page;
    };
    return saveLog({ log }, 'job_1', target, { force, signal: new AbortController().signal });
  };

  it('replaces none that came meanwhile unless it is forced to', async () => {
    const meanwhile = (): Promise<void> => writeFile(target, 'theirs');
    await assert.rejects(save(false, meanwhile), { code: 'file_exists' });
    assert.equal(await readFile(target, 'utf8'), 'theirs');
    assert.equal(await save(true, meanwhile), 6);
    assert.equal(await readFile(target, 'utf8'), 'hello\n');
    assert.deepEqual(await readdir(join(directory.path, 'to')), ['log']);
  });

  it('is written through no link that stands where its draft would', async () => {
    const other = join(directory.path, 'other');
    await writeFile(other, 'mine');
    await symlink(other, `${target}.${process.pid}.part`);
    assert.equal(await save(false), 6);
    assert.deepEqual([await readFile(other, 'utf8'), await readFile(target, 'utf8')], ['mine', 'hello\n']);
  });
});
