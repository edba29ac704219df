/** What a job is told of mirrors and certificates beside what is in its root. */
import { readFileSync } from 'node:fs';
import { ifThere } from '../../../files/if-missing.ts';
import { mirrorEnvironment } from '../../../mirrors/environment.ts';
import { MIRROR_PATHS } from '../../../mirrors/files.ts';
import type { Mirrors } from '../../../mirrors/mirrors.ts';
import { npmrc } from '../../../mirrors/registries.ts';
import type { Mount } from '../../mounts.ts';
import type { LaunchSpec } from '../../sandbox.ts';

const PLACE = '/run/flashpods-mirrors';
const MOUNTED = {
  bundle: `${PLACE}/bundle`,
  certificates: `${PLACE}/certificates`,
  npmrc: `${PLACE}/npmrc`,
};
/** Of the distributions that this host may be. */
const HOST_BUNDLES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'];

/**
 * @param form whether they lie in a root of ours, or beside a root that nobody can write to: then only variables tell
 *   of them, and the image's own certificates are not seen, so that the host's stand in for them
 */
export function withMirrors(
  spec: LaunchSpec,
  mirrors: Mirrors | null,
  form: 'in its root' | 'mounted',
): LaunchSpec {
  if (mirrors === null) return spec;
  const isMounted = form === 'mounted';
  const { pipIndexUrl } = mirrors.registries;
  return {
    ...spec,
    defaultEnv: {
      ...mirrorEnvironment(mirrors, isMounted ? MOUNTED : MIRROR_PATHS),
      ...(isMounted && pipIndexUrl !== undefined
        ? { PIP_INDEX_URL: pipIndexUrl, UV_DEFAULT_INDEX: pipIndexUrl }
        : {}),
      ...spec.defaultEnv,
    },
    mounts: isMounted ? [...spec.mounts, mountOf(mirrors)] : spec.mounts,
  };
}

function mountOf({ registries, certificates }: Mirrors): Mount {
  const ours = certificates.map(String).join('');
  const host = HOST_BUNDLES.map((path) => ifThere(() => readFileSync(path, 'utf8'), '')).find(Boolean) ?? '';
  const { npmRegistry } = registries;
  return {
    kind: 'files',
    feature: 'mirrors',
    target: PLACE,
    directory: 'mirrors',
    files: {
      bundle: host + ours,
      certificates: ours,
      ...(npmRegistry === undefined ? {} : { npmrc: npmrc(npmRegistry) }),
    },
  };
}
