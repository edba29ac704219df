import { type Config, ConfigError } from '../../src/config.ts';
import { CertificateError } from '../../src/mirrors/certificates.ts';
import { MirrorSource } from '../../src/mirrors/mirrors.ts';
import type { Logger } from '../../src/observability/logger.ts';

/** @throws ConfigError when the CA file can't be used */
export function mirrorSource(config: Config, logger: Logger): MirrorSource {
  try {
    return new MirrorSource(config, logger);
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new ConfigError(`FLASHPODS_CA_FILE: ${error.message}`, { cause: error });
  }
}
