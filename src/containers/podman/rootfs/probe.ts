/** Whether this host can give jobs a root file system of ours, found out by trying. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../../errors.ts';
import { ID_RANGE_SIZE } from '../container/job-user.ts';
import type { EngineInfo } from '../host/probes.ts';
import { doSteps, ids } from './mounting.ts';

/**
 * Maps the owners of Podman's storage and puts an overlay over a layer, where nobody else sees it.
 * @param idBase null: ids are not ours to map
 * @returns why a writable root can't be had here; null when it can
 */
export async function tryWritableRoot(
  engine: Pick<EngineInfo, 'selinux' | 'graphDriver' | 'graphRoot'>,
  dataDir: string,
  idBase: number | null,
): Promise<string | null> {
  if (idBase === null) return 'Podman does not run as root';
  if (engine.selinux) return 'SELinux labels the files of containers';
  if (engine.graphDriver !== 'overlay') return `Podman keeps images by its driver ${engine.graphDriver}`;
  const probes = join(dataDir, 'probe');
  mkdirSync(probes, { recursive: true });
  const directory = mkdtempSync(join(probes, 'root-'));
  const at = (name: string): string => join(directory, name);
  try {
    for (const name of ['storage', 'layer', 'mapped', 'upper', 'work', 'root']) mkdirSync(at(name));
    const map = ids(0, idBase, ID_RANGE_SIZE);
    await doSteps([
      ['private'],
      ['map', engine.graphRoot, at('storage'), 'ro', map, map],
      ['map', at('layer'), at('mapped'), 'ro', map, map],
      ['chdir', directory],
      ['overlay', at('root'), 'mapped', at('upper'), at('work'), 'on'],
      ['enter', at('root')],
      ['furnish', '/place', '755', idBase, idBase],
    ]);
    return null;
  } catch (error) {
    return messageOf(error);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
