import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { isNamed, pullProblem } from '../../src/containers/podman/images/images.ts';
import { LABELS } from '../../src/images/description.ts';
import { type HostImage, hostImage } from '../../src/images/image.ts';
import type { ImageRemoval, RemovalOutcome, Removals } from '../../src/hosts/removal.ts';
import { type HostImages, ImageService, imagesInWords } from '../../src/images/service.ts';
import type { Principal, Scope } from '../../src/identity/principal.ts';

const NODE = 'localhost/flashpods/node:latest';
const BASE = 'localhost/flashpods/base:latest';

const image = (reference: string, labels: Readonly<Record<string, string>> = {}): HostImage =>
  hostImage({ reference, digest: 'sha256:0', sizeBytes: 1 }, labels);

const serviceOf = (reports: Readonly<Record<string, readonly HostImage[] | null>>): ImageService =>
  new ImageService({
    reports: () => Promise.resolve(new Map(Object.entries(reports)) as HostImages),
    removals: NOBODY,
  });

/** Hosts that say what they are told to say. */
const saying = (
  outcomes: Readonly<Record<string, RemovalOutcome>>,
  asked: unknown[] = [],
): Removals<ImageRemoval> => ({
  ask: (hosts, removal) => {
    asked.push([hosts, removal]);
    return Promise.resolve('x');
  },
  outcomes: () => Promise.resolve(new Map(Object.entries(outcomes))),
});
const NOBODY = saying({});

describe('the list of images', () => {
  const node = image(NODE, {
    [LABELS.summary]: 'Node.js',
    [LABELS.versions]: 'node=24.1.0 npm=11.0.0',
    [LABELS.programs]: 'bash gcc node npm',
  });
  const base = image(BASE, { [LABELS.programs]: 'bash gcc' });
  const foreign = image('docker.io/library/debian:12');
  const annas = image('localhost/flashpods-derived/a:1', { [LABELS.owner]: 'anna' });

  it('has each image once with the hosts that have it, ours first, and what could be made', async () => {
    const service = serviceOf({ a: [foreign, base], b: [node, base], c: null });
    const { images, buildable } = await service.list('anna');
    assert.deepEqual(
      images.map(({ name, hosts }) => [name, hosts]),
      [
        ['base', ['a', 'b']],
        ['node', ['b']],
        ['docker.io/library/debian:12', ['a']],
      ],
    );
    assert.deepEqual(images[1]?.versions, { node: '24.1.0', npm: '11.0.0' });
    assert.deepEqual(
      buildable.map(({ name }) => name),
      ['go', 'java', 'python', 'rust', 'small'],
    );
  });

  it('shows what is shared and what is the caller’s own', async () => {
    const service = serviceOf({ a: [annas, foreign] });
    const names = async (owner: string | null): Promise<string[]> =>
      (await service.list(owner)).images.map(({ name }) => name);
    assert.deepEqual(await names('anna'), [foreign.reference, annas.reference]);
    assert.deepEqual(await names('bert'), [foreign.reference]);
    assert.deepEqual(await names(null), [foreign.reference, annas.reference]);
  });

  it('shows what was installed over an image to its owner, beside the image', async () => {
    const over = (owner: string, ...packages: string[]): HostImage => ({
      ...base,
      programs: null,
      owner,
      packages,
    });
    const reports = {
      a: [over('anna', 'tree'), over('bert', 'tree'), over('anna', 'hello', 'tree')],
      b: [base, over('anna', 'tree')],
    };
    const seen = async (owner: string | null): Promise<unknown> =>
      (await serviceOf(reports).list(owner)).images.map(({ name, packages, hosts }) => [
        name,
        packages,
        hosts,
      ]);
    assert.deepEqual(await seen('anna'), [
      ['base', [], ['b']],
      ['base', ['hello', 'tree'], ['a']],
      ['base', ['tree'], ['a', 'b']],
    ]);
    assert.deepEqual(await seen('carl'), [['base', [], ['b']]]);
    assert.equal(((await seen(null)) as unknown[]).length, 4);
    // It is no image by itself.
    const { buildable } = await serviceOf({ a: [over('anna', 'tree')] }).list('anna');
    assert.ok(buildable.some(({ name }) => name === 'base'));
    await assert.rejects(serviceOf({ a: [over('anna', 'tree')] }).refuseAbsent(BASE, 'anna'), {
      code: 'image_not_found',
    });
  });

  it('finds those that have a program', async () => {
    const service = serviceOf({ a: [node, base, foreign] });
    const having = async (program: string): Promise<string[][]> => {
      const { images, buildable } = await service.list('anna', program);
      return [images.map(({ name }) => name), buildable.map(({ name }) => name)];
    };
    assert.deepEqual(await having('gcc'), [['base', 'node'], ['small']]);
    assert.deepEqual(await having('npm'), [['node'], []]);
    assert.deepEqual(await having('cargo'), [[], ['rust']]);
    assert.deepEqual(await having('nobody-has-it'), [[], []]);
  });

  it('bears labels of any kind', () => {
    const odd = image('x', { [LABELS.versions]: '  =  a=b=c  ', [LABELS.programs]: '' });
    assert.deepEqual(odd.versions, { '': '', a: 'b=c' });
    assert.deepEqual(odd.programs, []);
  });
});

describe('an image of ours that a job names', () => {
  const base = image(BASE);

  it('is refused when every host has told and none has it, with what there is and how to make it', async () => {
    await assert.rejects(serviceOf({ a: [base], b: [] }).refuseAbsent(NODE, 'anna'), {
      code: 'image_not_found',
      message:
        'No host has the image node yet: `flashpods image build node` on a host makes it. Images here: base.',
    });
  });

  it('is let through where one has it, where one has not told, where there is no host, and where nobody can say', async () => {
    await serviceOf({ a: [base], b: [image(NODE)] }).refuseAbsent(NODE, 'anna');
    await serviceOf({ a: [base], b: null }).refuseAbsent(NODE, 'anna');
    await serviceOf({}).refuseAbsent(NODE, 'anna');
    const away = new ImageService({
      reports: () => Promise.reject(new Error('Redis is away')),
      removals: NOBODY,
    });
    await away.refuseAbsent(NODE, 'anna');
  });

  it('is not confused with the images of others: those may be pulled, or just made', async () => {
    for (const other of ['docker.io/library/node:22', 'localhost/team/agent:1', 'debian'])
      await serviceOf({ a: [base] }).refuseAbsent(other, 'anna');
  });
});

describe('a pull that failed', () => {
  const said = (complaint: string): string => pullProblem('docker.io/library/node:22', complaint);

  it('because the registry was out of reach does not blame the name', () => {
    assert.match(
      said(
        'initializing source docker://node:22: pinging container registry registry-1.docker.io: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host',
      ),
      /can't find the registry docker\.io \(DNS\), so the name is not what is wrong/,
    );
    for (const complaint of ['dial tcp 10.0.0.1:443: connect: connection refused', 'dial tcp: i/o timeout'])
      assert.match(said(complaint), /can't reach the registry docker\.io, so the name is not what is wrong/);
    assert.match(said('x509: certificate signed by unknown authority'), /does not trust the registry/);
  });

  it('because there is no such image says so', () => {
    for (const complaint of [
      'reading manifest nope in docker.io/library/node: manifest unknown',
      'requested access to the resource is denied',
    ])
      assert.match(said(complaint), /has no such image, or only for those who log in/);
  });

  it('says nothing of what answered at the address, and what kind of failure it was', () => {
    assert.match(said('writing blob: no space left on device'), /this host has no room for it\.$/);
    for (const complaint of [
      'pinging container registry 10.0.0.5:6379: Get "https://10.0.0.5:6379/v2/": SECRET OF THE SERVER',
      'dial tcp 10.0.0.5:22: connect: connection refused: SECRET OF THE SERVER',
      'tls: first record does not look like a TLS handshake: SECRET OF THE SERVER',
      'unauthorized: SECRET OF THE SERVER',
      'StatusCode: 418, SECRET OF THE SERVER',
    ])
      assert.doesNotMatch(said(complaint), /SECRET|10\.0\.0|418|handshake/, complaint);
  });

  it('is of a name, never of an id or the beginning of one', () => {
    const body = {
      Id: '155a6bdeadbeef',
      RepoTags: ['localhost/d3/user:1', 'docker.io/library/node:latest'],
      RepoDigests: ['docker.io/library/node@sha256:aa'],
    };
    for (const name of [
      'localhost/d3/user:1',
      'd3/user:1',
      'node',
      'node:latest',
      'docker.io/library/node',
      'docker.io/library/node@sha256:aa',
      'docker.io/library/node:22@sha256:aa',
    ])
      assert.ok(isNamed(body, name), name);
    for (const name of [
      '155a6b',
      '155a6bdeadbeef',
      'sha256:155a6bdeadbeef',
      'user:1x',
      'ode',
      'node:2',
      'x/node@sha256:ab',
    ])
      assert.ok(!isNamed(body, name), name);
  });

  it('names a few of the images that there are', () => {
    const names = Array.from({ length: 10 }, (_, index) => ({ name: `i${index}` }));
    assert.equal(imagesInWords(names), 'Images here: i0, i1, i2, i3, i4, i5, i6, i7 and 2 more.');
    assert.equal(imagesInWords([]), 'There are no images here.');
  });
});

describe('the removal of an image', () => {
  const base = image(BASE);
  const over = (owner: string): HostImage => ({ ...base, owner, packages: ['hello', 'tree'] });
  const reports: HostImages = new Map([
    ['a', [base, over('anna'), over('bert')]],
    ['b', [base, over('anna')]],
  ]);
  const who = (owner: string, ...scopes: Scope[]): Principal => ({
    tokenId: 't',
    owner,
    scopes: new Set(scopes),
  });
  const removed = { state: 'removed' } as const;
  const remove = (
    principal: Principal,
    named: string,
    packages: readonly string[],
    removals: Removals<ImageRemoval> = saying({ a: removed, b: removed }),
  ): Promise<unknown> =>
    new ImageService({ reports: () => Promise.resolve(reports), removals }).remove(
      principal,
      { image: named, packages },
      new AbortController().signal,
    );

  it('asks the hosts that have what is the caller’s own, in any order of the packages', async () => {
    const asked: unknown[] = [];
    const removals = saying({ a: removed, b: removed }, asked);
    assert.deepEqual(await remove(who('anna', 'jobs:write'), 'base', ['tree', 'hello'], removals), [
      'a',
      'b',
    ]);
    assert.deepEqual(await remove(who('bert', 'jobs:write'), BASE, ['hello', 'tree'], removals), ['a']);
    const removal = { reference: BASE, packages: ['hello', 'tree'] };
    assert.deepEqual(asked, [
      [['a', 'b'], { ...removal, owner: 'anna' }],
      [['a'], { ...removal, owner: 'bert' }],
    ]);
  });

  it('refuses what is not there or another’s, and what is everybody’s without admin', async () => {
    await assert.rejects(remove(who('carl', 'jobs:write'), 'base', ['hello', 'tree']), {
      code: 'image_not_found',
    });
    await assert.rejects(remove(who('anna', 'jobs:write'), 'node', []), { code: 'image_not_found' });
    await assert.rejects(remove(who('anna', 'jobs:write'), 'base', []), { code: 'insufficient_scope' });
    assert.deepEqual(await remove(who('root', 'admin'), 'base', []), ['a', 'b']);
  });

  it('takes the one that is named where two differ by `:latest` alone', async () => {
    const spelt = (reference: string): HostImage => ({ ...base, reference, owner: 'anna', packages: ['jq'] });
    const both: HostImages = new Map([
      ['a', [spelt('debian:latest')]],
      ['b', [spelt('debian')]],
    ]);
    for (const [named, host] of [
      ['debian', 'b'],
      ['debian:latest', 'a'],
    ] as const) {
      const asked: unknown[] = [];
      const service = new ImageService({
        reports: () => Promise.resolve(both),
        removals: saying({ a: removed, b: removed }, asked),
      });
      const what = { image: named, packages: ['jq'] };
      const hosts = await service.remove(who('anna', 'jobs:write'), what, new AbortController().signal);
      assert.deepEqual(hosts, [host]);
      assert.deepEqual(asked, [[[host], { reference: named, packages: ['jq'], owner: 'anna' }]]);
    }
  });

  it('says where it could not be done', async () => {
    const admin = who('root', 'admin');
    await assert.rejects(remove(admin, 'base', [], saying({ a: removed, b: { state: 'in use' } })), {
      code: 'image_in_use',
      message: /on b\./,
    });
    await assert.rejects(
      remove(admin, 'base', [], saying({ a: removed, b: { state: 'failed', reason: 'no disk' } })),
      { code: 'container_error', message: /b could not remove base: no disk/ },
    );
  });
});
