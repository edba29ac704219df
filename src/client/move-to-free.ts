import { constants } from 'node:fs';
import { copyFile, link } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import { fileExists } from './artifact-places.ts';

/**
 * `rename` would replace what has come to be there meanwhile; a hard link is refused then. `from` stays.
 * @throws ClientError file_exists
 */
export async function moveToFree(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST') throw fileExists(to);
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
    // A file system without hard links.
    await copyFile(from, to, constants.COPYFILE_EXCL).catch((copyError: unknown) => {
      throw systemCode(copyError) === 'EEXIST' ? fileExists(to) : copyError;
    });
  }
}
