import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { after, before, describe, it } from 'mocha';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import type { WantedLayer } from '../../src/containers/package-layers.ts';
import { readCertificates } from '../../src/mirrors/certificates.ts';
import { type MirrorConfig, MirrorSource } from '../../src/mirrors/mirrors.ts';
import { makeTruststore } from '../../src/mirrors/truststore.ts';
import { makeBareImage, makeImage } from '../support/agent-image.ts';
import { type Bridge, holdBridge } from '../support/mirror/bridge.ts';
import { GREETING, SAMPLE } from '../support/mirror/content.ts';
import { ACCOUNT, makeCa, type Mirror, mirrorSettings, startMirror } from '../support/mirror/mirror.ts';
import {
  finished,
  type JobOverrides,
  launch,
  runToEnd,
  startTestPodman,
  type TestPodman,
} from '../support/podman.ts';

/** Cheap tools only; `npm run mirrors` tries all of them in our images. */
describe('a job behind a TLS mirror with a private CA', () => {
  let podman: TestPodman;
  let bridge: Bridge;
  let mirror: Mirror;
  let directory: string;
  let source: MirrorSource;
  const give = (config: MirrorConfig): void => {
    source = new MirrorSource(config, { warn: () => undefined });
  };
  const output = async (job: JobOverrides): Promise<string> =>
    (await runToEnd(podman.runtime, { network: 'internet', memoryBytes: 1024 * 2 ** 20, ...job })).output;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'fp-mirror-'));
    give({});
    podman = await startTestPodman({ mirrors: { current: () => source.current() } });
    bridge = await holdBridge(podman.runtime);
    mirror = await startMirror(bridge.address, join(directory, 'mirror'));
  });
  after(async () => {
    await mirror.close();
    await bridge.close();
    await podman.end();
    rmSync(directory, { recursive: true });
  });

  it('is fetched from by curl, git and node, as any user, with and without variables', async () => {
    const work = join(directory, 'work');
    mkdirSync(work);
    copyFileSync(process.execPath, join(work, 'node'));
    const script = `
      for by in '' 'env -i'; do $by curl -sS ${mirror.url}/hello; done
      git clone -q ${mirror.url}/git/sample.git /tmp/s && cat /tmp/s/greeting
      /work/node -e 'fetch("${mirror.url}/hello").then(async (r) => process.stdout.write(await r.text()))'
      curl -sS -u ${ACCOUNT.name}:${decodeURIComponent(ACCOUNT.password)} $(sed -n s/^registry=//p /usr/local/etc/npmrc)${SAMPLE} | grep -c ${SAMPLE}-1.0.0.tgz
      env | grep s3cr3t; cat /etc/apt/auth.conf.d/flashpods.conf 2>/dev/null; stat -c '%U %a' /etc/apt/auth.conf.d/flashpods.conf`;
    const given = `${mirror.url.replace('//', `//${ACCOUNT.name}:${ACCOUNT.password}@`)}/private`;
    give({ ...mirrorSettings(given), goproxy: 'off', caFile: mirror.caFile });
    const auth = `machine ${mirror.url}/private/debian login robot password s3cr3t@`;
    for (const root of [false, true]) {
      const lines = (await output({ workDir: work, root, script })).trim().split('\n');
      const expected = [...Array<string>(4).fill(GREETING), '1', ...(root ? [auth] : []), 'root 600'];
      assert.deepEqual(lines, expected, `root: ${root}`);
    }
    give({});
    assert.match(
      await output({ script: `curl -sS ${mirror.url}/hello; env` }),
      /^curl: \(60\)(?![^]*CERT_FILE)/,
    );
  });

  it('has packages that were installed behind the mirror, and the certificates of both', async () => {
    const { packages } = podman.runtime;
    assert.ok(packages);
    const other = readFileSync(await makeCa(join(directory, 'installed'), 'Installed'), 'utf8');
    const want = (): Promise<WantedLayer> =>
      packages.want({ owner: 'anna', image: BASE_IMAGE, packages: ['hello'] });
    give({});
    const plain = await want();
    give({ ...mirrorSettings(mirror.url), caFile: mirror.caFile });
    const wanted = await want();
    assert.notEqual(wanted.key, plain.key);
    const build = await launch(podman.runtime, {
      isBuild: true,
      root: true,
      network: 'internet',
      // As update-ca-certificates does.
      script: `set -e; curl -sS ${mirror.url}/hello >/opt/fetched; cd /etc/ssl/certs
        cp ca-certificates.crt new; echo '${other}' >>new; mv new ca-certificates.crt; grep -rl ${mirror.url} /etc/apt | wc -l`,
    });
    assert.notEqual((await finished(build)).output.trim(), '0');
    await build.remove();
    await packages.keep(wanted, build, AbortSignal.timeout(60_000));
    await build.dispose();
    // First, so that something of the plain image could be taken for the other one.
    assert.doesNotMatch(await output({ script: 'cat /opt/fetched 2>&1' }), new RegExp(GREETING));
    const layer = packages.hold(wanted);
    const last = (
      await output({
        layer: wanted.key,
        script: `curl -sS ${mirror.url}/hello; cat /opt/fetched; grep -c . /usr/local/etc/npmrc; cat /etc/ssl/certs/ca-certificates.crt`,
      })
    ).trim();
    layer?.();
    assert.match(last, new RegExp(`^${GREETING}\n${GREETING}\n1\n`));
    for (const pem of [other, readFileSync(mirror.caFile, 'utf8')]) assert.ok(last.includes(pem.trim()));
  });

  it('is told to every tool, and what the image and the job say holds', async () => {
    give({ ...mirrorSettings(mirror.url), caFile: mirror.caFile });
    const image = await makeImage(
      ['ENV GOPROXY=https://image.example', 'COPY pip.conf /etc/xdg/pip/pip.conf'],
      {
        'pip.conf': 'of the image\n',
      },
    );
    try {
      await podman.runtime.ensureImage(image.name, () => undefined, AbortSignal.timeout(5_000));
      const text = await output({
        image: image.name,
        env: { CURL_CA_BUNDLE: '/mine' },
        script: `cat /etc/xdg/pip/pip.conf /usr/local/etc/npmrc /.cargo/config.toml
          stat -c '%U %a %n' ~/.m2 ~/.m2/settings.xml /usr/local/etc /etc/ssl; echo $GOPROXY $CURL_CA_BUNDLE $SSL_CERT_FILE $NPM_CONFIG_GLOBALCONFIG
          touch ~/.m2/x /usr/local/etc/x && rm ~/.m2/settings.xml && echo writable; ls /usr/local/share/ca-certificates`,
      });
      assert.equal(
        text,
        `of the image
registry=${mirror.url}/npm/
[source.crates-io]
replace-with = "flashpods"

[source.flashpods]
registry = "sparse+${mirror.url}/cargo/"
job 755 /home/job/.m2
job 644 /home/job/.m2/settings.xml
job 755 /usr/local/etc
root 755 /etc/ssl
https://image.example /mine /etc/ssl/certs/ca-certificates.crt /usr/local/etc/npmrc
writable
flashpods-1.crt
`,
      );
    } finally {
      await image.remove();
    }
  });

  it('is trusted wherever an image has its certificates, and nothing of the host is touched', async () => {
    const other = await makeCa(join(directory, 'other'), 'Other');
    const layout = join(directory, 'layout');
    const pki = join(layout, 'etc', 'pki');
    for (const path of ['tls/certs', 'ca-trust/extracted/pem', 'ca-trust/source/anchors'])
      mkdirSync(join(pki, path), { recursive: true });
    mkdirSync(join(layout, 'opt', 'jdk', 'lib', 'security'), { recursive: true });
    copyFileSync(other, join(pki, 'ca-trust', 'extracted', 'pem', 'tls-ca-bundle.pem'));
    symlinkSync('../../ca-trust/extracted/pem/tls-ca-bundle.pem', join(pki, 'tls', 'certs', 'ca-bundle.crt'));
    // Leads out of it, and to itself.
    symlinkSync(`../../../../../../..${join(directory, 'victim')}`, join(pki, 'tls', 'cert.pem'));
    symlinkSync('cacert.pem', join(pki, 'tls', 'cacert.pem'));
    writeFileSync(join(directory, 'victim'), 'mine\n');
    const store = makeTruststore(readCertificates(other));
    writeFileSync(join(layout, 'opt', 'jdk', 'lib', 'security', 'cacerts'), store);
    const tar = join(directory, 'layout.tar');
    await execa('tar', ['-C', layout, '--owner=0', '--group=0', '-cf', tar, 'etc', 'opt']);
    const bare = await makeBareImage();
    const context = join(directory, 'context');
    mkdirSync(context);
    copyFileSync(tar, join(context, 'layout.tar'));
    writeFileSync(
      join(context, 'Containerfile'),
      `FROM ${bare.name}\nADD layout.tar /\nENV JAVA_HOME=/opt/jdk\n`,
    );
    const name = bare.name.replace('test-bare', 'test-layout');
    await execa('podman', ['build', '--quiet', '--tag', name, context]);
    try {
      give({ caFile: mirror.caFile });
      for (const image of [name, bare.name]) {
        await podman.runtime.ensureImage(image, () => undefined, AbortSignal.timeout(5_000));
        const places = [
          '/etc/ssl/certs/ca-certificates.crt',
          '/etc/ssl/cert.pem',
          '/etc/ssl/flashpods-ca.pem',
          '/etc/pki/tls/certs/ca-bundle.crt',
          '/etc/pki/ca-trust/source/anchors/flashpods.pem',
        ];
        // This image has a shell and nothing else.
        const count = places
          .map(
            (path) =>
              `n=0; while read -r l; do case $l in *BEGIN*) n=$((n+1));; esac; done < ${path}; echo $n`,
          )
          .join('; ');
        const text = await output({ image, network: 'none', script: `{ ${count}; } 2>/dev/null` });
        assert.deepEqual(
          text.split('\n').filter(Boolean),
          image === name ? ['2', '2', '1', '2', '1'] : ['1', '1', '1', '0', '0'],
        );
      }
      assert.equal(readdirSync(directory).includes('victim'), true);
      assert.equal((await execa('cat', [join(directory, 'victim')])).stdout, 'mine');
    } finally {
      await execa('podman', ['image', 'rm', '--force', name]);
      await bare.remove();
    }
  });
});
