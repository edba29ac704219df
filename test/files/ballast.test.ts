import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import { Ballast } from '../../src/files/ballast.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { SmallDisk } from '../faults/harness/small-disk.ts';
import { temporaryDirectory } from '../support/scratch.ts';

const MB = 2 ** 20;

for (const kind of ['ext4', 'tmpfs'] as const)
  describe(`a ballast on ${kind}`, () => {
    let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
    let disk: SmallDisk;
    let ballast: Ballast;
    const pieces = (): string[] => readdirSync(join(disk.path, 'ballast')).sort();
    const look = async (times: number): Promise<void> => {
      for (let time = 0; time < times; time += 1) await ballast.look();
    };

    before(async () => {
      directory = await temporaryDirectory();
      disk = await SmallDisk.make(directory.path, 'disk', 300 * MB, kind);
      ballast = new Ballast({
        directory: join(disk.path, 'ballast'),
        bytes: 16 * MB,
        restBytes: 32 * MB,
        logger: createLogger({ level: 'silent', role: 'test' }),
      });
    });
    afterEach(() => disk.free());
    after(async () => {
      await disk.remove();
      await directory.remove();
    });

    it('is made a piece at a time, and no more than was asked for', async () => {
      await look(10);
      assert.equal(pieces().length, 8);
      const blocks = pieces().map((name) => statSync(join(disk.path, 'ballast', name)).blocks * 512);
      assert.ok(blocks.every((bytes) => bytes >= 2 * MB));
    });

    it('lets a piece go at each look while the disk takes nothing, and then things can be written', async () => {
      disk.fill();
      assert.throws(() => writeFileSync(join(disk.path, 'row'), Buffer.alloc(MB, 1)), { code: 'ENOSPC' });
      rmSync(join(disk.path, 'row'));
      disk.fill();
      await look(1);
      assert.equal(pieces().length, 7);
      writeFileSync(join(disk.path, 'row'), Buffer.alloc(MB, 1));
      await look(3);
      assert.equal(pieces().length, 7, 'what is left of the piece is enough, and none is made of it');
      disk.fill();
      await look(10);
      assert.equal(pieces().length, 6);
    });

    it('keeps no piece that a killed process began', async () => {
      const draft = join(disk.path, 'ballast', 'piece-0.99');
      writeFileSync(draft, 'a');
      await look(1);
      assert.ok(existsSync(draft), 'somebody may be making it');
      utimesSync(draft, 0, 0);
      await look(1);
      assert.ok(!existsSync(draft));
    });

    it('is made again when there is room, and not before', async () => {
      mkdirSync(join(disk.path, 'd'), { recursive: true });
      disk.free();
      await look(10);
      assert.equal(pieces().length, 8);
    });
  });
