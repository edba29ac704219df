import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { before, describe, it } from 'mocha';
import { withAptMirrors } from '../../src/mirrors/apt.ts';
import { mirrorEnvironment } from '../../src/mirrors/environment.ts';
import { type ImageLook, MIRROR_PATHS, mirrorFiles, placesToLookAt } from '../../src/mirrors/files.ts';
import type { Registries } from '../../src/mirrors/mirrors.ts';
import { cargoIndex, mavenSettings, netProperties, npmrc, pipConf } from '../../src/mirrors/registries.ts';
import { addToTruststore, makeTruststore } from '../../src/mirrors/truststore.ts';
import { makeCa } from '../support/mirror/mirror.ts';
import { scratch } from '../support/scratch.ts';

describe('what an image gets of mirrors', () => {
  const directory = scratch();
  const certificates: X509Certificate[] = [];
  const [first, second] = [() => certificates[0], () => certificates[1]].map(
    (get) => (): X509Certificate => get() as X509Certificate,
  ) as [() => X509Certificate, () => X509Certificate];
  before(async () => {
    await directory.make();
    for (const name of ['one', 'two'])
      certificates.push(new X509Certificate(readFileSync(await makeCa(directory.path(name), name))));
  });

  const who = { home: '/home/job', env: {} as Record<string, string> };
  /** An image with these files; each name is where it really is. */
  function made(
    registries: Registries,
    files: Readonly<Record<string, string | Buffer>> = {},
    { env = {}, trust = false }: { env?: Record<string, string>; trust?: boolean } = {},
  ): Record<string, string | Buffer> {
    const places = new Map(
      placesToLookAt({ ...who, env }).map((pattern) => {
        const shape = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`);
        const here = Object.keys(files).filter((path) => shape.test(path));
        const named = pattern.includes('*') ? here : [pattern];
        return [
          pattern,
          named.map((path) => ({ path, content: path in files ? Buffer.from(files[path] ?? '') : null })),
        ];
      }),
    );
    const look: ImageLook = { places, directories: new Map() };
    const mirrors = { registries, certificates: trust ? [first()] : [], key: '' };
    return Object.fromEntries(
      mirrorFiles(mirrors, look, { ...who, env }).map(({ path, content }) => [path, content]),
    );
  }

  it('adds to each bundle that it has, and to those that its variables name', () => {
    const own = String(second());
    const files = made(
      {},
      { '/etc/ssl/ca-bundle.pem': own.trimEnd(), '/opt/x.pem': own + String(first()) },
      { trust: true, env: { SSL_CERT_FILE: '/opt/x.pem' } },
    );
    for (const path of [
      '/etc/ssl/ca-bundle.pem',
      '/etc/ssl/certs/ca-certificates.crt',
      '/etc/ssl/cert.pem',
      '/opt/x.pem',
    ])
      assert.equal(String(files[path]), own + String(first()), path);
    assert.equal(files['/etc/pki/tls/certs/ca-bundle.crt'], undefined, 'no image gets other people’s places');
    assert.equal(String(files['/usr/local/share/ca-certificates/flashpods-1.crt']), String(first()));
  });

  it('adds to Java’s truststores, of either form', () => {
    const store = makeTruststore([second()]);
    const both = addToTruststore(store, [first()]);
    assert.ok(both?.includes(first().raw) && both.includes(second().raw));
    assert.deepEqual(addToTruststore(both ?? store, [first()]), both, 'once');
    const cut = Buffer.from(store);
    cut.writeUInt8(cut.at(-1) === 0 ? 1 : 0, cut.length - 1);
    assert.equal(addToTruststore(cut, [first()]), null, 'a password of its own');
    const octets = (tag: number, content: Buffer): Buffer =>
      Buffer.concat([Buffer.from([tag, 0x82, content.length >> 8, content.length & 255]), content]);
    const bag = Buffer.concat([
      Buffer.from('3080060a2a864886f70d01091601', 'hex'),
      octets(0xa0, octets(0x04, second().raw)),
    ]);
    assert.deepEqual(addToTruststore(bag, [first()]), makeTruststore([second(), first()]));
    for (const broken of [bag.subarray(0, -1), Buffer.from('3080'), Buffer.alloc(0)])
      assert.equal(addToTruststore(broken, [first()]), null);
    const path = '/usr/lib/jvm/x/lib/security/cacerts';
    const files = made({}, { [path]: 'encrypted', '/etc/ssl/cert.pem': String(second()) }, { trust: true });
    assert.deepEqual(files[path], makeTruststore([second(), first()]), 'made anew of the bundle');
    assert.equal(made({}, { [path]: 'encrypted' }, { trust: true })[path], undefined, 'rather as it is');
  });

  it('leaves what the image brings', () => {
    const registries = {
      npmRegistry: 'https://m/npm',
      pipIndexUrl: 'https://m/simple',
      cargoRegistry: 'https://m/cargo',
      mavenMirror: 'https://m/maven',
    };
    assert.deepEqual(Object.keys(made(registries)).sort(), [
      '/.cargo/config.toml',
      '/etc/uv/uv.toml',
      '/etc/xdg/pip/pip.conf',
      '/home/job/.m2/settings.xml',
      '/usr/local/etc/npmrc',
    ]);
    const files = made(registries, {
      '/home/me/.cargo/config': '[source.crates-io]\nreplace-with = "x"',
      '/etc/xdg/pip/pip.conf': 'own',
      '/etc/maven/settings.xml': '<mirrors><!-- <mirror> --><mirror>',
      '/usr/local/etc/npmrc': 'registry=https://own',
    });
    assert.deepEqual(Object.keys(files).sort(), ['/etc/uv/uv.toml', '/usr/local/etc/npmrc']);
    assert.equal(files['/usr/local/etc/npmrc'], 'registry=https://m/npm/\nregistry=https://own\n');
    for (const usual of ['<!-- <mirror> -->', '<mirror><id>x</id><blocked>true</blocked></mirror>'])
      assert.ok(made(registries, { '/etc/maven/settings.xml': usual })['/home/job/.m2/settings.xml'], usual);
  });

  it('keeps an account out of addresses that tools write down', () => {
    const url = 'https://me:p%40ss@m/npm';
    assert.equal(
      npmrc(url),
      `registry=https://m/npm/\n//m/npm/:_auth=${btoa('me:p@ss')}\n//m/npm/:always-auth=true\n`,
    );
    assert.equal(
      mavenSettings({ mavenMirror: url, httpsProxy: 'http://u:a%26b@p:3128', proxyExcept: 'a,.b,c:80' }),
      `<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
  <mirrors>
    <mirror><id>flashpods</id><mirrorOf>central</mirrorOf><url>https://m/npm</url></mirror>
  </mirrors>
  <servers>
    <server><id>flashpods</id><username>me</username><password>p@ss</password></server>
  </servers>
  <proxies>
    <proxy><id>https</id><active>true</active><protocol>https</protocol><host>p</host><port>3128</port><username>u</username><password>a&amp;b</password><nonProxyHosts>a|*.b|c</nonProxyHosts></proxy>
  </proxies>
</settings>
`,
    );
    const apt = { aptMirror: 'https://me:pw@m/debian' };
    assert.equal(
      made(apt)['/etc/apt/auth.conf.d/flashpods.conf'],
      'machine https://m/debian login me password pw\n',
    );
  });

  it('writes each in the form that its tool reads', () => {
    assert.equal(pipConf('http://m/simple'), '[global]\nindex-url = http://m/simple\ntrusted-host = m\n');
    assert.equal(cargoIndex('https://m/x'), 'sparse+https://m/x/');
    assert.equal(cargoIndex('sparse+https://m/x/'), 'sparse+https://m/x/');
    assert.equal(cargoIndex('https://m/x.git'), 'https://m/x.git');
    assert.equal(
      netProperties({ httpProxy: 'http://p', proxyExcept: 'localhost' }),
      '\nhttp.proxyHost=p\nhttp.proxyPort=80\nhttp.nonProxyHosts=localhost\n',
    );
    assert.equal(netProperties({}), '');
    assert.equal(mavenSettings({}), null);
    const env = mirrorEnvironment(
      { registries: { httpProxy: 'http://p:1', goproxy: 'off' }, certificates: [], key: '' },
      MIRROR_PATHS,
    );
    assert.deepEqual(env, {
      GOPROXY: 'off',
      HTTP_PROXY: 'http://p:1',
      http_proxy: 'http://p:1',
      NODE_USE_ENV_PROXY: '1',
    });
  });

  it('turns the public archives of apt into mirrors, and no others', () => {
    const registries = { aptMirror: 'https://m/debian/', ubuntuMirror: 'https://m/u' };
    const [debian, ubuntu] = ['debian.org', 'archive.ubuntu.com'];
    const archive = `ftp.${debian}`;
    const text = (isOurs: boolean): string =>
      withAptMirrors(
        `# deb http://${archive}/debian x main
deb [signed-by=/k] http://${archive}/debian bookworm main
deb http://security.${debian}/debian-security bookworm-security main
URIs: http://ftp.de.${debian}/debian/ http://${ubuntu}/ubuntu
deb http://xx.${ubuntu}/ubuntu/ jammy main
deb https://download.docker.com/linux/debian bookworm stable
deb http://somewhere/a bookworm-security main
`,
        registries,
        isOurs,
      );
    assert.equal(
      text(false),
      `# deb http://${archive}/debian x main
deb [signed-by=/k] https://m/debian bookworm main
deb https://m/debian-security bookworm-security main
URIs: https://m/debian https://m/u
deb https://m/u jammy main
deb https://download.docker.com/linux/debian bookworm stable
deb http://somewhere/a bookworm-security main
`,
    );
    assert.match(text(true), /deb https:\/\/m\/debian-security bookworm-security main\n$/);
  });
});
