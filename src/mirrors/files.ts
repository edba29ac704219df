/**
 * What is put into the root file system of a job, so that what runs there trusts our certificates and fetches from our
 * mirrors with any user and any variables. Pure: from what an image has to the files that it gets. Where the
 * image says something itself, that holds.
 */
import { X509Certificate } from 'node:crypto';
import { dirname } from 'node:path';
import { aptAuth, withAptMirrors } from './apt.ts';
import { BUNDLE_VARIABLES, EXTRA_VARIABLE, type MirrorPaths } from './environment.ts';
import type { Mirrors } from './mirrors.ts';
import { cargoConfig, mavenSettings, netProperties, npmrc, pipConf, uvToml } from './registries.ts';
import { addToTruststore, makeTruststore } from './truststore.ts';

export const MIRROR_PATHS: MirrorPaths = {
  bundle: '/etc/ssl/certs/ca-certificates.crt',
  certificates: '/etc/ssl/flashpods-ca.pem',
  npmrc: '/usr/local/etc/npmrc',
};

/** Where the distributions have their certificates in one file. */
const BUNDLES = [
  MIRROR_PATHS.bundle, // Debian, Alpine, Arch
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem', // openSUSE
  '/etc/ssl/cert.pem', // Alpine; OpenSSL’s own default
  '/etc/pki/tls/cert.pem',
];
/** Made where they are missing: what was built for Debian looks for the one, OpenSSL for the other. */
const NEEDED_BUNDLES = [MIRROR_PATHS.bundle, '/etc/ssl/cert.pem'];

const JAVA_HOMES = [
  '/usr/lib/jvm/*',
  '/usr/lib/jvm/*/jre',
  '/usr/java/*',
  '/usr/local/openjdk-*',
  '/usr/local/openjdk-*/jre',
  '/opt/*',
  '/opt/java/*',
];
const TRUSTSTORES = ['/etc/ssl/certs/java/cacerts', '/etc/pki/ca-trust/extracted/java/cacerts'];

/** Where programs that make bundles anew look for further certificates, if the image has such a directory. */
const ANCHORS = [
  '/etc/pki/ca-trust/source/anchors/flashpods.pem',
  '/etc/pki/trust/anchors/flashpods.pem',
  '/usr/share/pki/trust/anchors/flashpods.pem',
];
const DEBIAN_ANCHORS = '/usr/local/share/ca-certificates';

const CARGO_CONFIG = '/.cargo/config.toml';
const CARGO_HOMES = ['/usr/local/cargo', '/root/.cargo', '/home/*/.cargo'];
const PIP_CONF = '/etc/xdg/pip/pip.conf';
const UV_TOML = '/etc/uv/uv.toml';
const MAVEN_SETTINGS = [
  '/etc/maven/settings.xml',
  '/usr/share/maven/conf/settings.xml',
  '/opt/*/conf/settings.xml',
];
const SOURCES = [
  '/etc/apt/sources.list',
  '/etc/apt/sources.list.d/*.list',
  '/etc/apt/sources.list.d/*.sources',
];
const APT_AUTH = '/etc/apt/auth.conf.d/flashpods.conf';
/** Only images of ours have it. */
const OURS = '/usr/share/flashpods/packages';
const OTHER_NPMRCS = ['/usr/etc/npmrc', '/etc/npmrc'];

/** A place that was looked at in an image. */
export interface Place {
  /** Where it really is, links followed; the place of one that is not there. */
  readonly path: string;
  /** Null where there is no regular file of a sensible size. */
  readonly content: Buffer | null;
}

export interface ImageLook {
  /** Patterns of a shell may stand for several. */
  readonly places: ReadonlyMap<string, readonly Place[]>;
  /** Directories on the way to them that are there. */
  readonly directories: ReadonlyMap<string, Owner>;
}

export interface Owner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** For whom and in which image. */
export interface Inhabitant {
  readonly home: string;
  /** `ENV` of the image. */
  readonly env: Readonly<Record<string, string>>;
}

export interface MirrorFile {
  readonly path: string;
  readonly content: Buffer | string;
  readonly mode: number;
}

const atHome = (home: string): string => `${home}/.m2/settings.xml`;

const javaHomes = ({ env }: Inhabitant): string[] => {
  const home = env['JAVA_HOME'];
  return home?.startsWith('/') ? [home, `${home}/jre`, ...JAVA_HOMES] : JAVA_HOMES;
};

/** Files that variables of the image name. */
const namedBundles = ({ env }: Inhabitant): string[] =>
  [...BUNDLE_VARIABLES, EXTRA_VARIABLE].flatMap((name) => (env[name]?.startsWith('/') ? [env[name]] : []));

const truststores = (who: Inhabitant): string[] => [
  ...TRUSTSTORES,
  ...javaHomes(who).map((home) => `${home}/lib/security/cacerts`),
];

const netFiles = (who: Inhabitant): string[] => javaHomes(who).map((home) => `${home}/conf/net.properties`);

const cargoConfigs = ({ env }: Inhabitant): string[] =>
  [...(env['CARGO_HOME']?.startsWith('/') ? [env['CARGO_HOME']] : []), ...CARGO_HOMES].flatMap((home) => [
    `${home}/config.toml`,
    `${home}/config`,
  ]);

const mavenConfigs = ({ env }: Inhabitant): string[] =>
  [env['MAVEN_HOME'], env['M2_HOME']]
    .flatMap((home) => (home?.startsWith('/') ? [`${home}/conf/settings.xml`] : []))
    .concat(MAVEN_SETTINGS);

/** What has to be known of an image: paths, with patterns of a shell. */
export const placesToLookAt = (who: Inhabitant): string[] => [
  ...new Set([
    ...BUNDLES,
    ...namedBundles(who),
    ...truststores(who),
    ...ANCHORS,
    `${DEBIAN_ANCHORS}/x`,
    MIRROR_PATHS.certificates,
    MIRROR_PATHS.npmrc,
    ...OTHER_NPMRCS,
    PIP_CONF,
    UV_TOML,
    CARGO_CONFIG,
    ...cargoConfigs(who),
    atHome(who.home),
    ...mavenConfigs(who),
    ...netFiles(who),
    ...SOURCES,
    APT_AUTH,
    OURS,
  ]),
];

/** What a job gets, the last of a path counts. */
export function mirrorFiles(mirrors: Mirrors, look: ImageLook, who: Inhabitant): MirrorFile[] {
  const files = [...trustFiles(mirrors, look, who), ...registryFiles(mirrors, look, who)];
  return files.filter(({ path }) => !/^\/(?:work|artifacts|proc|sys|dev|run|tmp)(?:\/|$)/.test(path));
}

const readable = (path: string, content: Buffer | string): MirrorFile => ({ path, content, mode: 0o644 });

const found = ({ places }: ImageLook, patterns: readonly string[]): Place[] => {
  const all = patterns.flatMap((pattern) => places.get(pattern) ?? []);
  return [...new Map(all.map((place) => [place.path, place])).values()];
};

const texts = (look: ImageLook, patterns: readonly string[]): string[] =>
  found(look, patterns).flatMap(({ content }) => content?.toString('utf8') ?? []);

const isThere = (look: ImageLook, path: string): boolean =>
  found(look, [path]).some(({ content }) => content !== null);

/** Where a file would really be. */
const realPath = (look: ImageLook, path: string): string => found(look, [path])[0]?.path ?? path;

function trustFiles({ certificates }: Mirrors, look: ImageLook, who: Inhabitant): MirrorFile[] {
  if (certificates.length === 0) return [];
  const ours = certificates.map(String).join('');
  const bundles = found(look, [...BUNDLES, ...namedBundles(who)]);
  const base = bundles.find(({ content }) => content !== null)?.content ?? Buffer.alloc(0);
  const needed = new Set(NEEDED_BUNDLES.map((path) => realPath(look, path)));
  return [
    readable(realPath(look, MIRROR_PATHS.certificates), ours),
    ...bundles
      .filter(({ path, content }) => content !== null || needed.has(path))
      .map(({ path, content }) => readable(path, withCertificates(content ?? base, certificates))),
    ...found(look, truststores(who)).flatMap(({ path, content }) => {
      if (content === null) return [];
      const store =
        addToTruststore(content, certificates) ??
        (base.length === 0 ? null : makeTruststore([...certificatesOf(base), ...certificates]));
      return store === null ? [] : [readable(path, store)];
    }),
    // One a file, as update-ca-certificates wants them.
    ...certificates.map((certificate, at) =>
      readable(
        `${dirname(realPath(look, `${DEBIAN_ANCHORS}/x`))}/flashpods-${at + 1}.crt`,
        String(certificate),
      ),
    ),
    ...found(look, ANCHORS)
      .filter(({ path }) => look.directories.has(dirname(path)))
      .map(({ path }) => readable(path, ours)),
  ];
}

function registryFiles({ registries }: Mirrors, look: ImageLook, who: Inhabitant): MirrorFile[] {
  const { npmRegistry, pipIndexUrl, cargoRegistry } = registries;
  const files: MirrorFile[] = [];
  /** Unless the image has one. */
  const bring = (path: string, content: string | null, mode = 0o644): void => {
    if (content !== null && !isThere(look, path)) files.push({ path: realPath(look, path), content, mode });
  };
  if (npmRegistry !== undefined) {
    // Of two lines the later one counts.
    const own = texts(look, [...OTHER_NPMRCS, MIRROR_PATHS.npmrc]);
    files.push(
      readable(realPath(look, MIRROR_PATHS.npmrc), [npmrc(npmRegistry), ...own].map(asLines).join('')),
    );
  }
  if (pipIndexUrl !== undefined) {
    bring(PIP_CONF, pipConf(pipIndexUrl));
    bring(UV_TOML, uvToml(pipIndexUrl));
  }
  if (
    cargoRegistry !== undefined &&
    !texts(look, cargoConfigs(who)).some((text) => /^\s*\[source\b/m.test(text))
  )
    bring(CARGO_CONFIG, cargoConfig(cargoRegistry));
  if (!texts(look, mavenConfigs(who)).some(hasOwnMirror)) bring(atHome(who.home), mavenSettings(registries));
  const proxies = netProperties(registries);
  if (proxies !== '')
    for (const { path, content } of found(look, netFiles(who)))
      if (content !== null) files.push(readable(path, content.toString('latin1') + proxies));
  for (const pattern of SOURCES)
    for (const { path, content } of found(look, [pattern])) {
      if (content === null) continue;
      const isOurs = pattern === SOURCES[0] && isThere(look, OURS);
      const text = content.toString('utf8');
      const changed = withAptMirrors(text, registries, isOurs);
      if (changed !== text) files.push(readable(path, changed));
    }
  bring(APT_AUTH, aptAuth(registries), 0o600);
  return files;
}

const asLines = (text: string): string => (text.endsWith('\n') ? text : `${text}\n`);

/** Maven's own file has examples in comments, and one that only keeps it from plain http. */
const hasOwnMirror = (xml: string): boolean =>
  [...xml.replaceAll(/<!--[\s\S]*?-->/g, '').matchAll(/<mirror>[\s\S]*?(?:<\/mirror>|$)/g)].some(
    ([mirror]) => !/<blocked>\s*true\s*<\/blocked>/.test(mirror),
  );

const PEM = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g;

/** A bundle with those that it lacks. */
function withCertificates(bundle: Buffer, certificates: readonly X509Certificate[]): Buffer {
  const has = new Set([...bundle.toString('latin1').matchAll(PEM)].map(([pem]) => pem.replaceAll(/\s/g, '')));
  const missing = certificates.map(String).filter((pem) => !has.has(pem.replaceAll(/\s/g, '')));
  const own =
    bundle.length === 0 || bundle.at(-1) === 0x0a ? bundle : Buffer.concat([bundle, Buffer.from('\n')]);
  return Buffer.concat([own, Buffer.from(missing.join(''))]);
}

function certificatesOf(bundle: Buffer): X509Certificate[] {
  return [...bundle.toString('latin1').matchAll(PEM)].flatMap(([pem]) => {
    try {
      return [new X509Certificate(pem)];
    } catch {
      return [];
    }
  });
}
