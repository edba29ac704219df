/** A header or a library that a build wanted and its image has not: found in its log, and answered with a package. */
import { isPlainName } from '../observability/unsafe-text.ts';

export interface MissingPart {
  /** As the log says it. */
  readonly name: string;
  /** The Debian package that is likely to have it. */
  readonly package: string;
  /** Whether that is known; else it is made of the name, and the part may be the project's own. */
  readonly isKnown: boolean;
}

const NAME = String.raw`([A-Za-z0-9_][A-Za-z0-9_.+/-]*)`;
const HEADER = String.raw`([A-Za-z0-9_][A-Za-z0-9_.+/-]*\.h(?:h|pp|xx)?)`;
/** In the words of GCC and Clang; GNU ld, gold, lld and mold; pkg-config, pkgconf and Meson; CMake. */
const PATTERNS = [
  String.raw`(?:^|[: ])${HEADER}: No such file or directory$`,
  String.raw`error: ['‘]${HEADER}['’] file not found`,
  String.raw`cannot find -l${NAME}`,
  String.raw`(?:unable to find library|library not found:?(?: for)?) -?l?${NAME}`,
  String.raw`^No package '${NAME}' found`,
  String.raw`^Package '?${NAME}'?(?:, required by '[^']*',)?(?: was)? not found`,
  String.raw`Dependency "?${NAME}"? not found, tried`,
  String.raw`Dependency lookup for "?${NAME}"? with method .* failed`,
  String.raw`Could NOT find ${NAME} \(missing:`,
].map((pattern) => new RegExp(pattern));

/** Those whose package is not `lib<name>-dev`; by the name in lower case, without a directory and an ending. */
const PACKAGES: Readonly<Record<string, string>> = {
  boost: 'libboost-dev',
  bz2: 'libbz2-dev',
  bzip2: 'libbz2-dev',
  bzlib: 'libbz2-dev',
  crypto: 'libssl-dev',
  curl: 'libcurl4-openssl-dev',
  libcurl: 'libcurl4-openssl-dev',
  curses: 'libncurses-dev',
  ncurses: 'libncurses-dev',
  ncursesw: 'libncurses-dev',
  tinfo: 'libncurses-dev',
  db: 'libdb-dev',
  expat: 'libexpat1-dev',
  ffi: 'libffi-dev',
  libffi: 'libffi-dev',
  gl: 'libgl-dev',
  opengl: 'libgl-dev',
  glib: 'libglib2.0-dev',
  'glib-2.0': 'libglib2.0-dev',
  gmp: 'libgmp-dev',
  gtest: 'libgtest-dev',
  jpeg: 'libjpeg-dev',
  jpeglib: 'libjpeg-dev',
  libpq: 'libpq-dev',
  'libpq-fe': 'libpq-dev',
  pq: 'libpq-dev',
  postgresql: 'libpq-dev',
  libxml: 'libxml2-dev',
  'libxml-2.0': 'libxml2-dev',
  libxml2: 'libxml2-dev',
  xml2: 'libxml2-dev',
  lzma: 'liblzma-dev',
  liblzma: 'liblzma-dev',
  mysql: 'default-libmysqlclient-dev',
  mysqlclient: 'default-libmysqlclient-dev',
  openssl: 'libssl-dev',
  ssl: 'libssl-dev',
  libssl: 'libssl-dev',
  libcrypto: 'libssl-dev',
  pcap: 'libpcap-dev',
  pcre: 'libpcre3-dev',
  pcre2: 'libpcre2-dev',
  'libpcre2-8': 'libpcre2-dev',
  png: 'libpng-dev',
  libpng: 'libpng-dev',
  python: 'python3-dev',
  python3: 'python3-dev',
  readline: 'libreadline-dev',
  sdl2: 'libsdl2-dev',
  sqlite3: 'libsqlite3-dev',
  systemd: 'libsystemd-dev',
  uuid: 'uuid-dev',
  x11: 'libx11-dev',
  yaml: 'libyaml-dev',
  'yaml-0.1': 'libyaml-dev',
  z: 'zlib1g-dev',
  zlib: 'zlib1g-dev',
  zmq: 'libzmq3-dev',
  libzmq: 'libzmq3-dev',
  zstd: 'libzstd-dev',
  libzstd: 'libzstd-dev',
};

/** @returns what a line of a log says is not there; null when it says no such thing */
export function missingPart(line: string): MissingPart | null {
  const text = line.trimEnd();
  // What is long is no message of a compiler, and would only cost time.
  if (text.length > 500) return null;
  for (const pattern of PATTERNS) {
    const name = pattern.exec(text)?.[1];
    // A longer one could be a sentence.
    if (name === undefined || !isPlainName(name)) continue;
    const words = name
      .toLowerCase()
      .replace(/\.h(?:h|pp|xx)?$/, '')
      .split('/');
    for (const word of [words[0] ?? '', words.at(-1) ?? '']) {
      const known = Object.hasOwn(PACKAGES, word) ? PACKAGES[word] : undefined;
      if (known !== undefined) return { name, package: known, isKnown: true };
    }
    const stem = (words[0] ?? '').replace(/^lib/, '').replaceAll('_', '-');
    return { name, package: `lib${stem}-dev`, isKnown: false };
  }
  return null;
}

/** What to do about it, a sentence; null when the job had that package. */
export function missingPartAdvice(part: MissingPart, packages: readonly string[]): string | null {
  if (packages.includes(part.package)) return null;
  const how = `\`"packages": ["${part.package}"]\` (\`--packages ${part.package}\`) installs it before the command`;
  return part.isKnown
    ? `The image has no \`${part.name}\`: ${how}.`
    : `The image has no \`${part.name}\`. If it is not the project's own, a Debian package has it, perhaps ${part.package}: ${how}.`;
}
