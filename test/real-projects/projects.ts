/**
 * Projects of other people, each with the one call that an agent would build and test it with. Debian's source packages,
 * as upstream made them: apt fetches them without an account, and they stay the same for years.
 */

export interface Project {
  /** Name of the source package, or of a directory of `examples/`. */
  readonly name: string;
  readonly from: 'debian' | 'examples';
  /** Short name of an image; none: the default one. */
  readonly image?: string;
  /** Debian packages that its image lacks. */
  readonly packages?: readonly string[];
  readonly command: string;
  /** What is to be fetched afterwards, each with a text or bytes that it must hold. */
  readonly artifacts: Readonly<Record<string, RegExp>>;
}

/** Beginning of a program or a library of Linux. */
const ELF = /^\x7fELF/;
const ARCHIVE = /^!<arch>/;

export const PROJECTS: readonly Project[] = [
  {
    name: 'zlib',
    from: 'debian',
    command:
      './configure --prefix=/usr/local && make -j"$FLASHPODS_CPUS" && make test | tee /artifacts/test.log && make install && cp minigzip libz.a /artifacts/',
    artifacts: { minigzip: ELF, 'libz.a': ARCHIVE, 'test.log': /zlib shared test OK/ },
  },
  {
    name: 'lua5.4',
    from: 'debian',
    command:
      'make -j"$FLASHPODS_CPUS" linux && make test && make install && cp "$(command -v lua)" src/liblua.a /artifacts/',
    artifacts: { lua: ELF, 'liblua.a': ARCHIVE },
  },
  {
    name: 'jq',
    from: 'debian',
    packages: ['libonig-dev'],
    command: `autoreconf --force --install && ./configure --disable-maintainer-mode --disable-valgrind &&
make -j"$FLASHPODS_CPUS" && (make check || (cat tests/*.log; false)) && make install prefix=/artifacts/jq`,
    artifacts: { 'jq/bin/jq': ELF },
  },
  {
    name: 'hiredis',
    from: 'debian',
    packages: ['redis-server'],
    // It is older than Redis 7, which has the command DEBUG switched off; two of its tests call it.
    command: `make -j"$FLASHPODS_CPUS" && make check REDIS_SERVER='redis-server --enable-debug-command yes' |
tee /artifacts/check.log && cp libhiredis.so /artifacts/`,
    artifacts: { 'libhiredis.so': ELF, 'check.log': /ALL TESTS PASSED/i },
  },
  {
    name: 'cjson',
    from: 'debian',
    command:
      'make -j"$FLASHPODS_CPUS" all && make test > /artifacts/test.log && cp libcjson.so.* /artifacts/',
    artifacts: { 'libcjson.so.1': ELF, 'test.log': /Jack/ },
  },
  {
    name: 'tinyxml2',
    from: 'debian',
    // Its tests write there, and its .gitignore holds for what is sent.
    command:
      'mkdir -p resources/out && cmake -S . -B build -G Ninja && cmake --build build && ctest --test-dir build --output-on-failure && cmake --install build --prefix /artifacts',
    artifacts: { 'lib/libtinyxml2.a': ARCHIVE },
  },
  {
    name: 'sqlite3',
    from: 'debian',
    packages: ['tcl-dev'],
    command: `./configure --prefix=/usr/local && make -j"$FLASHPODS_CPUS" sqlite3 testfixture &&
for test in select1 join index trigger1 vacuum; do ./testfixture test/$test.test; done && make install && cp sqlite3 /artifacts/`,
    artifacts: { sqlite3: ELF },
  },
  {
    name: 'redis',
    from: 'debian',
    packages: ['tcl'],
    command: `make -j"$FLASHPODS_CPUS" MALLOC=libc && ./runtest --single unit/type/string --single unit/expire --single unit/multi |
tee /artifacts/test.log && make install PREFIX=/artifacts`,
    artifacts: { 'bin/redis-server': ELF, 'test.log': /All tests passed without errors/ },
  },
  {
    name: 'node-ini',
    from: 'debian',
    image: 'node',
    command:
      'npm install --no-audit --no-fund && npx tap --no-coverage && npm pack --pack-destination /artifacts',
    artifacts: { 'ini-3.0.1.tgz': /^\x1f\x8b/ },
  },
  {
    name: 'python-xmltodict',
    from: 'debian',
    image: 'python',
    command: 'python -m pytest -q tests && python -m build --no-isolation --outdir /artifacts',
    artifacts: { 'xmltodict-0.13.0.tar.gz': /^\x1f\x8b/ },
  },
  {
    name: 'rust-fnv',
    from: 'debian',
    image: 'rust',
    command:
      'cargo test --offline && cargo build --release --offline && cp target/release/libfnv.rlib /artifacts/',
    artifacts: { 'libfnv.rlib': ARCHIVE },
  },
  {
    name: 'golang-github-google-uuid',
    from: 'debian',
    image: 'go',
    command: 'go vet ./... && go test -v ./... | tee /artifacts/test.log && go build ./...',
    artifacts: { 'test.log': /^ok\s+github\.com\/google\/uuid/m },
  },
  {
    name: 'squeeze',
    from: 'examples',
    command: 'make -j"$FLASHPODS_CPUS" OUT=/artifacts test dist',
    artifacts: { 'squeeze-1.0.tar.gz': /^\x1f\x8b/, 'test-report.txt': /./ },
  },
];
