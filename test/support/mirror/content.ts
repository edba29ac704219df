/** One small package in the form of each registry, all called `flashpods-sample`. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { zip } from './zip.ts';

export type Content = Map<string, Buffer | string>;

const hash = (name: string, bytes: Buffer): string => createHash(name).update(bytes).digest('hex');

export const SAMPLE = 'flashpods-sample';
/** What each of them says. */
export const GREETING = 'it came from the mirror';

/** @param url of the mirror @param directory an empty one */
export async function mirrorContent(url: string, directory: string): Promise<Content> {
  const content: Content = new Map([['/hello', `${GREETING}\n`]]);
  await npm(content, url, join(directory, 'npm'));
  pip(content);
  await cargo(content, url, join(directory, 'cargo'));
  go(content);
  content.set(`/maven/org/flashpods/${SAMPLE}/1/${SAMPLE}-1.pom`, POM);
  await apt(content, join(directory, 'apt'));
  await git(content, join(directory, 'git'));
  return content;
}

async function packed(
  directory: string,
  top: string,
  files: Readonly<Record<string, string>>,
): Promise<Buffer> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(directory, top, name, '..'), { recursive: true });
    await writeFile(join(directory, top, name), text);
  }
  const tar = join(directory, 'packed.tar.gz');
  await execa('tar', ['-C', directory, '-czf', tar, top]);
  return readFile(tar);
}

async function npm(content: Content, url: string, directory: string): Promise<void> {
  const manifest = { name: SAMPLE, version: '1.0.0' };
  const tarball = await packed(directory, 'package', {
    'package.json': JSON.stringify(manifest),
    'index.js': `module.exports = '${GREETING}'\n`,
  });
  const file = `/npm/${SAMPLE}/-/${SAMPLE}-1.0.0.tgz`;
  const dist = { tarball: url + file, shasum: hash('sha1', tarball) };
  const packument = {
    name: SAMPLE,
    'dist-tags': { latest: '1.0.0' },
    versions: { '1.0.0': { ...manifest, dist } },
  };
  content.set(`/npm/${SAMPLE}`, JSON.stringify(packument)).set(file, tarball);
}

function pip(content: Content): void {
  const info = 'flashpods_sample-1.0.0.dist-info';
  const wheel = zip({
    'flashpods_sample.py': `GREETING = '${GREETING}'\n`,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${SAMPLE}\nVersion: 1.0.0\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${info}/RECORD`]: `flashpods_sample.py,,\n${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n`,
  });
  const file = 'flashpods_sample-1.0.0-py3-none-any.whl';
  content
    .set(
      `/pypi/simple/${SAMPLE}/`,
      `<!DOCTYPE html><a href="../../${file}#sha256=${hash('sha256', wheel)}">${file}</a>`,
    )
    .set(`/pypi/${file}`, wheel);
}

async function cargo(content: Content, url: string, directory: string): Promise<void> {
  const crate = await packed(directory, `${SAMPLE}-1.0.0`, {
    'Cargo.toml': `[package]\nname = "${SAMPLE}"\nversion = "1.0.0"\nedition = "2018"\n`,
    'src/lib.rs': `pub const GREETING: &str = "${GREETING}";\n`,
  });
  const line = {
    name: SAMPLE,
    vers: '1.0.0',
    deps: [],
    cksum: hash('sha256', crate),
    features: {},
    yanked: false,
  };
  content
    .set('/cargo/config.json', JSON.stringify({ dl: `${url}/crates/{crate}-{version}` }))
    .set(`/cargo/${SAMPLE.slice(0, 2)}/${SAMPLE.slice(2, 4)}/${SAMPLE}`, `${JSON.stringify(line)}\n`)
    .set(`/crates/${SAMPLE}-1.0.0`, crate);
}

function go(content: Content): void {
  const module = `example.org/${SAMPLE}`;
  const mod = `module ${module}\n\ngo 1.19\n`;
  const at = `/go/${module}/@v`;
  content
    .set(`${at}/list`, 'v1.0.0\n')
    .set(`${at}/v1.0.0.info`, '{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}')
    .set(`${at}/v1.0.0.mod`, mod)
    .set(
      `${at}/v1.0.0.zip`,
      zip({
        [`${module}@v1.0.0/go.mod`]: mod,
        [`${module}@v1.0.0/sample.go`]: `package sample\n\nconst Greeting = "${GREETING}"\n`,
      }),
    );
}

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>org.flashpods</groupId><artifactId>${SAMPLE}</artifactId><version>1</version><packaging>pom</packaging>
<properties><greeting>${GREETING}</greeting></properties></project>
`;

async function apt(content: Content, directory: string): Promise<void> {
  const control = `Package: ${SAMPLE}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: sample\n`;
  await mkdir(join(directory, 'DEBIAN'), { recursive: true });
  await mkdir(join(directory, 'usr', 'share'), { recursive: true });
  await writeFile(join(directory, 'DEBIAN', 'control'), control);
  await writeFile(join(directory, 'usr', 'share', SAMPLE), `${GREETING}\n`);
  const file = `${directory}.deb`;
  await execa('dpkg-deb', ['--root-owner-group', '-Zgzip', '-b', directory, file]);
  const deb = await readFile(file);
  const packages = `${control}Filename: pool/sample.deb\nSize: ${deb.length}\nSHA256: ${hash('sha256', deb)}\n\n`;
  const bytes = Buffer.from(packages);
  for (const archive of ['debian', 'debian-security']) content.set(`/${archive}/pool/sample.deb`, deb);
  for (const suite of ['bookworm', 'bookworm-updates', 'bookworm-security', 'bookworm-backports']) {
    const at = `/${suite.endsWith('-security') ? 'debian-security' : 'debian'}/dists/${suite}`;
    const { stdout: architecture } = await execa('dpkg', ['--print-architecture']);
    const name = `main/binary-${architecture}/Packages`;
    content
      .set(`${at}/${name}`, bytes)
      .set(
        `${at}/Release`,
        `Suite: ${suite}\nCodename: ${suite}\nDate: Mon, 01 Jan 2024 00:00:00 UTC\nArchitectures: ${architecture}\nComponents: main\nSHA256:\n ${hash('sha256', bytes)} ${bytes.length} ${name}\n`,
      );
  }
}

async function git(content: Content, directory: string): Promise<void> {
  const tree = join(directory, 'tree');
  const bare = join(directory, 'sample.git');
  await mkdir(tree, { recursive: true });
  await writeFile(join(tree, 'greeting'), `${GREETING}\n`);
  const env = {
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@b',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@b',
  };
  const run = (...args: string[]) => execa('git', ['-C', tree, ...args], { env });
  await run('init', '-q', '-b', 'main');
  await run('add', '.');
  await run('commit', '-qm', 'sample');
  await execa('git', ['clone', '-q', '--bare', tree, bare]);
  await execa('git', ['-C', bare, 'update-server-info']);
  for (const entry of await readdir(bare, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    content.set(`/git/sample.git${path.slice(bare.length)}`, await readFile(path));
  }
}
