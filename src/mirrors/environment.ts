/** The variables by which tools find certificates, registries and proxies. An image's own and a job's own win. */
import type { Mirrors } from './mirrors.ts';

/** Where the files are for a job. */
export interface MirrorPaths {
  /** The image's certificates and ours. */
  readonly bundle: string;
  /** Ours alone. */
  readonly certificates: string;
  readonly npmrc: string;
}

/** Of a tool that reads one file in the place of its own, and the variables that name it. */
export const BUNDLE_VARIABLES = [
  'SSL_CERT_FILE',
  'CURL_CA_BUNDLE',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
  'GIT_SSL_CAINFO',
  'CARGO_HTTP_CAINFO',
] as const;
/** Of Node, which reads it beside its own. */
export const EXTRA_VARIABLE = 'NODE_EXTRA_CA_CERTS';

export function mirrorEnvironment(
  { registries, certificates }: Mirrors,
  paths: MirrorPaths,
): Record<string, string> {
  const { npmRegistry, goproxy, gosumdb, httpProxy, httpsProxy, proxyExcept } = registries;
  const trust =
    certificates.length === 0
      ? {}
      : {
          ...Object.fromEntries(BUNDLE_VARIABLES.map((name) => [name, paths.bundle])),
          [EXTRA_VARIABLE]: paths.certificates,
        };
  return {
    ...trust,
    ...(npmRegistry === undefined ? {} : { NPM_CONFIG_GLOBALCONFIG: paths.npmrc }),
    ...(goproxy === undefined ? {} : { GOPROXY: goproxy }),
    ...(gosumdb === undefined ? {} : { GOSUMDB: gosumdb }),
    ...both('HTTP_PROXY', httpProxy),
    ...both('HTTPS_PROXY', httpsProxy),
    ...both('NO_PROXY', proxyExcept),
    // Node's fetch asks for it.
    ...(httpProxy === undefined && httpsProxy === undefined ? {} : { NODE_USE_ENV_PROXY: '1' }),
  };
}

/** Some programs read the one form, some the other. */
const both = (name: string, value: string | undefined): Record<string, string> =>
  value === undefined ? {} : { [name]: value, [name.toLowerCase()]: value };
