/**
 * From where jobs fetch packages, and whom they trust: the CA certificates, registries and proxies of the settings.
 * What is made of it inside of a job is in `files.ts` and `environment.ts`.
 */
import { createHash, type X509Certificate } from 'node:crypto';
import { statSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { readCertificates } from './certificates.ts';

export const MIRROR_SETTINGS = [
  'npmRegistry',
  'pipIndexUrl',
  'cargoRegistry',
  'goproxy',
  'gosumdb',
  'mavenMirror',
  'aptMirror',
  'aptSecurityMirror',
  'ubuntuMirror',
  'httpProxy',
  'httpsProxy',
  'proxyExcept',
] as const;

/** As they are set. */
export type Registries = Readonly<Partial<Record<(typeof MIRROR_SETTINGS)[number], string | undefined>>>;

export interface Mirrors {
  readonly registries: Registries;
  /** Those that jobs trust beside their image's. */
  readonly certificates: readonly X509Certificate[];
  /** Another one for other content. */
  readonly key: string;
}

export type MirrorConfig = Registries & { readonly caFile?: string | undefined };

/** What is set now. The CA file is read again when it has changed. */
export class MirrorSource {
  readonly #config: MirrorConfig;
  readonly #logger: Pick<Logger, 'warn'>;
  #seen: string | null = null;
  #mirrors: Mirrors;

  /** @throws CertificateError when the CA file can't be used */
  constructor(config: MirrorConfig, logger: Pick<Logger, 'warn'>) {
    this.#config = config;
    this.#logger = logger;
    this.#seen = stateOf(config.caFile);
    this.#mirrors = mirrorsOf(config);
  }

  /** Null where nothing is set. A CA file that has become unusable is told, and what it held before goes on to hold. */
  current(): Mirrors | null {
    const seen = stateOf(this.#config.caFile);
    if (seen !== this.#seen) {
      this.#seen = seen;
      try {
        this.#mirrors = mirrorsOf(this.#config);
      } catch (error) {
        this.#logger.warn(
          { reason: messageOf(error) },
          'the CA file can’t be used any more; jobs go on with what it held before',
        );
      }
    }
    const { registries, certificates } = this.#mirrors;
    return certificates.length + Object.keys(registries).length === 0 ? null : this.#mirrors;
  }
}

/** @throws CertificateError */
export function mirrorsOf(config: MirrorConfig): Mirrors {
  const registries = Object.fromEntries(
    MIRROR_SETTINGS.flatMap((name) => (config[name] === undefined ? [] : [[name, config[name]]])),
  ) as Registries;
  const certificates = config.caFile === undefined ? [] : readCertificates(config.caFile);
  const content = JSON.stringify([registries, certificates.map(({ fingerprint256 }) => fingerprint256)]);
  return { registries, certificates, key: createHash('sha256').update(content).digest('hex') };
}

function stateOf(path: string | undefined): string | null {
  if (path === undefined) return null;
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(':');
}
