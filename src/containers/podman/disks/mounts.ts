/** What is mounted, and which files are behind loop devices, as the kernel tells it. */
import { readFileSync, readdirSync } from 'node:fs';
import { systemCode } from '../../../errors.ts';
import { ifThere } from '../../../files/if-missing.ts';
import { command } from '../host/command.ts';

export interface Mount {
  readonly source: string;
  readonly target: string;
}

/** mountinfo writes space, tab, newline and backslash in octal. */
const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

/** Mounts at `directory` and below it. */
export function mountsBelow(
  directory: string,
  mountinfo = readFileSync('/proc/self/mountinfo', 'utf8'),
): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    const target = unescape(left?.split(' ')[4] ?? '');
    if (target !== directory && !target.startsWith(`${directory}/`)) return [];
    return [{ target, source: unescape(right?.split(' ')[1] ?? '') }];
  });
}

/** Loop devices by the file behind them; a deleted file has ` (deleted)` after its name. */
export function loopDevices(): ReadonlyMap<string, string> {
  const devices = new Map<string, string>();
  for (const name of readdirSync('/sys/block').filter((entry) => entry.startsWith('loop'))) {
    try {
      const file = readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd();
      devices.set(file.replace(/ \(deleted\)$/, ''), `/dev/${name}`);
    } catch (error) {
      // A device without a file has no such entry, and one may vanish while we look.
      if (!['ENOENT', 'ENODEV', 'ENXIO', 'EINVAL'].includes(systemCode(error) ?? '')) throw error;
    }
  }
  return devices;
}

/** Bytes that were written to a block device since it was made, or null. */
export function bytesWrittenTo(device: string): number | null {
  const path = `/sys/block/${device.replace(/^\/dev\//, '')}/stat`;
  const text = ifThere(() => readFileSync(path, 'utf8'), '');
  const sectors = Number(text.trim().split(/\s+/)[6]);
  return Number.isFinite(sectors) ? sectors * 512 : null;
}

/** One of the counters that ext4 keeps of a mounted device; 0 where it keeps none. */
export const countOf = (device: string, name: string): number =>
  Number(ifThere(() => readFileSync(`/sys/fs/ext4/${device.replace(/^\/dev\//, '')}/${name}`, 'utf8'), '0'));

/** Unmounts everything at `directory` and below it, the last mounted first. Idempotent. */
export async function unmountAll(directory: string): Promise<void> {
  for (;;) {
    const target = mountsBelow(directory).at(-1)?.target;
    if (target === undefined) return;
    await command('umount', '-n', target).catch(async () => {
      if (mountsBelow(target).length === 0) return;
      // Somebody still reads in there: out of sight now, gone when they are done.
      await command('umount', '-n', '-l', target).catch((error: unknown) => {
        if (mountsBelow(target).length > 0) throw error;
      });
    });
  }
}
