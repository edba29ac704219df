/** A file system of the test's own that can be full: an ext4 image behind a loop device, or a tmpfs. */
import { execFile } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemCode } from '../../../src/errors.ts';

const run = promisify(execFile);

export class SmallDisk {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** @param directory where image and mount point are made @param name of both */
  static async make(
    directory: string,
    name: string,
    bytes: number,
    kind: 'ext4' | 'tmpfs' = 'ext4',
  ): Promise<SmallDisk> {
    const image = join(directory, `${name}.img`);
    const path = join(directory, name);
    mkdirSync(path);
    if (kind === 'tmpfs') {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0755`, 'tmpfs', path]);
      return new SmallDisk(path);
    }
    writeFileSync(image, '');
    truncateSync(image, bytes);
    // Nothing is kept for root: full is full for everybody.
    await run('mkfs.ext4', ['-q', '-F', '-m', '0', image]);
    await run('mount', ['-o', 'loop', image, path]);
    return new SmallDisk(path);
  }

  /** Takes all that is left. */
  fill(): void {
    const file = openSync(join(this.path, 'filler'), 'a');
    try {
      for (let size = 2 ** 20; size >= 512; size /= 2) {
        const piece = Buffer.alloc(size, 1);
        try {
          for (;;) writeSync(file, piece);
        } catch (error) {
          if (systemCode(error) !== 'ENOSPC') throw error;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(join(this.path, 'filler'), { force: true });
  }

  async remove(): Promise<void> {
    await run('umount', [this.path]);
  }
}
