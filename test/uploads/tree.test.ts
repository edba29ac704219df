import assert from 'node:assert/strict';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { UPLOAD_BUDGET } from '../../src/trees/budget.ts';
import { removeTree } from '../../src/trees/remove-tree.ts';
import { measureTree, settleTree } from '../../src/uploads/tree.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { look, make } from '../trees/hostile.ts';

const owner = { uid: 123_456, gid: 123_457 };

describe('upload trees', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let tree: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    tree = join(directory.path, 'tree');
    await mkdir(tree);
    await make(directory.path, 'mkdir other; echo -n keep > other/keep; chmod 640 other/keep');
  });
  afterEach(async () => {
    const { mode, uid } = await stat(join(directory.path, 'other/keep'));
    assert.equal(mode & 0o7777, 0o640);
    assert.equal(uid, process.getuid?.());
    assert.equal(await readFile(join(directory.path, 'other/keep'), 'utf8'), 'keep');
    await directory.remove();
  });

  const settled = async (): Promise<{ sizeBytes: number; fileCount: number }> => {
    const { sizeBytes, fileCount } = await settleTree(tree, owner);
    return { sizeBytes, fileCount };
  };

  it('weigh at least 4 KiB an entry, directories too; what another tree has as well is not new', async () => {
    await make(tree, 'mkdir -p a/b; : > e; ln -s e l; head -c 5000 /dev/zero > f; ln f g');
    const { weightBytes, newBytes } = await measureTree(tree);
    assert.deepEqual([weightBytes, newBytes], [4 * 4096 + 5000, 4 * 4096 + 5000]);
    await make(directory.path, 'ln tree/f other/f');
    const shared = await measureTree(tree);
    assert.deepEqual([shared.weightBytes, shared.newBytes], [4 * 4096 + 5000, 4 * 4096]);
  });

  it('are measured in any case: too deep, too many or too long is an answer and no error', async () => {
    await make(tree, `mkdir -p ${'d/'.repeat(101)}; : > f`);
    assert.match((await measureTree(tree)).excess ?? '', /100 directories deep/);
    await make(tree, 'rm -rf d; mkdir d; cd d; for ((i = 0; i < 50; i++)); do : > name-$i; done; mkfifo p');
    assert.equal((await measureTree(tree)).excess, null);
    const few = { ...UPLOAD_BUDGET, entries: 50 };
    assert.match((await measureTree(tree, few)).excess ?? '', /more than 50 entries/);
    const short = { ...UPLOAD_BUDGET, nameBytes: 300 };
    assert.match((await measureTree(tree, short)).excess ?? '', /of names/);
    assert.equal((await measureTree(join(tree, 'none'))).excess, null);
  });

  it('are measured without following links, files with two names once', async () => {
    await make(
      tree,
      'mkdir -p a/b; head -c 100 /dev/zero > a/b/f; ln a/b/f g; ln -s ../other l; ln -s l m; : > e',
    );
    const { sizeBytes, fileCount, excess } = await measureTree(tree);
    assert.deepEqual({ sizeBytes, fileCount, excess }, { sizeBytes: 100, fileCount: 5, excess: null });
  });

  it('get owner and modes once, regardless of what they had', async () => {
    await make(
      tree,
      `mkdir closed sticky; echo x > closed/f; chmod 000 closed/f closed; chmod 1777 sticky; echo > suid; chmod 6711 suid
       echo > $'odd\\n\\xff'; ln -s suid l; ln suid hard; chmod 311 .`,
    );
    assert.deepEqual(await settled(), { sizeBytes: 4, fileCount: 5 });
    const modes = (await look(tree)).map((line) => line.split('|').slice(0, 3).join('|'));
    assert.deepEqual(modes, [
      'closed/f|f|400',
      'closed|d|500',
      'hard|f|711',
      'l|l|777',
      'odd\n\xff|f|644',
      'sticky|d|777',
      'suid|f|711',
    ]);
    const foreign = await make(tree, 'find . ! -uid 123456 -o ! -gid 123457');
    assert.equal(foreign, '');
    assert.equal((await stat(tree)).mode & 0o7777, 0o711);
  });

  it('are not touched again where they are right', async () => {
    await make(tree, 'mkdir d; echo > d/f; ln -s f d/l');
    await settleTree(tree, owner);
    const before = await make(tree, "find . -printf '%P %C@\\n' | sort");
    await settleTree(tree, owner);
    assert.equal(await make(tree, "find . -printf '%P %C@\\n' | sort"), before);
    await settleTree(tree, null);
    assert.equal(await make(tree, "find . -printf '%P %C@\\n' | sort"), before);
  });

  it('keep symlinks wherever they lead, and touch nothing there', async () => {
    await make(
      tree,
      'mkdir d; ln -s ../other l; ln -s ../../other/keep d/l; ln -s /etc d/m; ln -s m n; ln -s n m',
    );
    const links = await make(tree, "find . -type l -printf '%P %l\\n' | sort");
    assert.deepEqual(await settled(), { sizeBytes: 0, fileCount: 5 });
    assert.equal(await make(tree, "find . -type l -printf '%P %l\\n' | sort"), links);
    assert.equal(await make(tree, 'find . ! -uid 123456'), '');
  });

  it('are refused with something that is no file', async () => {
    const hostile = [
      ['mkfifo d/fifo', /"d\/fifo" is neither/, true],
      ['mknod d/null c 1 3', /"d\/null" is neither/, true],
      [`mkdir -p ${'x/'.repeat(101)}`, /100 directories deep/, true],
    ] as const;
    for (const [script, message, refused] of hostile) {
      await make(tree, `rm -rf *; mkdir d; ${script}`);
      if (refused) await assert.rejects(settleTree(tree, owner), { code: 'invalid_request', message });
      else await settleTree(tree, owner);
    }
  });

  it('are removed, also when they are a symlink or a file, and nothing else is', async () => {
    await make(
      tree,
      `mkdir -p a/b c; ln -s ../other l; ln -s ../../other a/l; ln ../other/keep hard; mkfifo fifo; echo > $'odd\\n\\xff'
       for ((i = 0; i < 500; i++)); do : > c/$i; done; chmod 000 a/b a c
       d=$(printf %0200d 1); for ((i = 0; i < 60; i++)); do mkdir $d; cd $d; done; : > deep`,
    );
    await removeTree(tree);
    assert.equal(await make(directory.path, 'ls'), 'other\n');
    await removeTree(tree);
    await make(directory.path, 'ln -s other tree');
    await removeTree(tree);
    await make(directory.path, ': > tree');
    await removeTree(tree);
    assert.equal(await make(directory.path, 'ls; ls other'), 'other\nkeep\n');
  });
});
