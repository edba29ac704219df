import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type ContainerHost, createBody } from '../../src/containers/podman/container/create-spec.ts';
import { phaseOf } from '../../src/containers/podman/container/state.ts';
import { STANDING_MOUNTS, mergeMounts } from '../../src/containers/mounts.ts';
import { bindOf } from '../../src/containers/podman/sandbox/mounts.ts';
import { sandboxPaths } from '../../src/containers/podman/sandbox/paths.ts';
import { isSandboxId } from '../../src/containers/podman/sandbox/sandboxes.ts';
import { newSandboxId } from '../../src/ids.ts';
import { join } from 'node:path';
import { testSpec } from '../support/podman.ts';

const HOST: ContainerHost = {
  hostName: 'h',
  deploymentId: 'd',
  rootless: false,
  idBase: 700_000,
  ociRuntime: 'runc',
  limits: { cpu: true, memory: true, pids: true },
  swapLimit: true,
  selinux: false,
  obeysAnnotations: false,
  seccompProfile: '/run/seccomp.json',
  hardLimits: { nofile: 4096, nproc: 500 },
};

function body(
  host: Partial<ContainerHost> = {},
  overrides: Parameters<typeof testSpec>[0] = {},
  argv: readonly string[] = [],
) {
  const spec = testSpec(overrides);
  const paths = sandboxPaths('/sandboxes/s1');
  const made = createBody(spec, {
    host: { ...HOST, ...host },
    name: 'name',
    sandbox: 's1',
    root: { image: 'image' },
    binds: mergeMounts(STANDING_MOUNTS, spec.mounts).map((mount) => bindOf(paths, mount)),
    spool: paths.spool,
    cores: [],
    cgroupParent: '/flashpods/h/x',
    argv,
    env: {},
    filesUid: 0,
  });
  return { paths, made };
}

describe('the request that creates a container', () => {
  it('maps container ids into the reserved range where root runs Podman', () => {
    const { made } = body();
    const map = [{ container_id: 0, host_id: 700_000, size: 65_536 }];
    assert.deepEqual(made['userns'], { nsmode: 'private' });
    assert.deepEqual(made['idmappings'], {
      HostUIDMapping: false,
      HostGIDMapping: false,
      UIDMap: map,
      GIDMap: map,
    });
  });

  it('keeps the id of an unprivileged user', () => {
    const { made } = body({ rootless: true, idBase: null });
    assert.deepEqual(made['userns'], { nsmode: 'keep-id' });
    assert.equal('idmappings' in made, false);
  });

  it('never asks for more than the hard limits of the host', () => {
    const { made } = body();
    assert.deepEqual(made['r_limits'], [
      { type: 'nofile', soft: 4096, hard: 4096 },
      { type: 'nproc', soft: 500, hard: 500 },
      { type: 'core', soft: 1, hard: 1 },
    ]);
  });

  it('limits only what the kernel can limit', () => {
    const memory = (made: Readonly<Record<string, unknown>>) =>
      (made['resource_limits'] as { memory: unknown }).memory;
    assert.deepEqual(memory(body({}, { memoryBytes: 5 }).made), { limit: 5, swap: 5 });
    assert.deepEqual(memory(body({ swapLimit: false }, { memoryBytes: 5 }).made), { limit: 5 });
    const none = body({ limits: { cpu: false, memory: false, pids: true } }, { pidsLimit: 3 }).made;
    assert.deepEqual(none['resource_limits'], { pids: { limit: 3 } });
  });

  it('never uses the network of the host', () => {
    const mode = (host: Partial<ContainerHost>, network: 'internet' | 'none') =>
      body(host, { network }).made['netns'];
    assert.deepEqual(mode({}, 'none'), { nsmode: 'none' });
    assert.deepEqual(mode({}, 'internet'), { nsmode: 'bridge' });
    assert.notDeepEqual(mode({ rootless: true }, 'internet'), { nsmode: 'host' });
    assert.deepEqual(mode({ rootless: true }, 'none'), { nsmode: 'none' });
  });

  it('binds nothing but the job’s own directories', () => {
    const { made, paths } = body({}, { workDir: '/snapshots/s1' });
    const mounts = made['mounts'] as { source: string; destination: string; options: string[] }[];
    assert.deepEqual(
      mounts.map(({ source, destination, options }) => [source, destination, options.includes('rw')]),
      [
        ['/snapshots/s1', '/work', false],
        [join(paths.disk, 'artifacts'), '/artifacts', true],
        [join(paths.disk, 'home'), '/home/job', true],
        [join(paths.disk, 'tmp'), '/tmp', true],
        [join(paths.disk, 'var-tmp'), '/var/tmp', true],
      ],
    );
    for (const { options } of mounts) assert.ok(options.includes('nosuid') && options.includes('nodev'));
  });

  it('binds a /work that may be written, and /run/flashpods to read, where the job has them', () => {
    const bound = (spec: Parameters<typeof testSpec>[0]) => {
      const { made, paths } = body({}, spec);
      const mounts = made['mounts'] as { source: string; destination: string; options: string[] }[];
      const of = (destination: string) => mounts.find((mount) => mount.destination === destination);
      return { paths, of, writable: (path: string) => of(path)?.options.includes('rw') };
    };
    for (const workDir of [null, '/snapshots/s1']) {
      const { paths, of, writable } = bound({ workDir, workReadOnly: false, runFiles: { task: '' } });
      assert.deepEqual([of('/work')?.source, writable('/work')], [join(paths.disk, 'work'), true]);
      assert.deepEqual(
        [of('/run/flashpods')?.source, writable('/run/flashpods')],
        [join(paths.directory, 'run'), false],
      );
    }
    assert.equal(bound({}).of('/run/flashpods'), undefined);
  });

  it('leaves an image its own command when the job brings none', () => {
    assert.equal('entrypoint' in body({}, {}, []).made, false);
    assert.deepEqual(body({}, {}, ['a', 'b']).made['entrypoint'], ['a', 'b']);
  });
});

describe('Podman’s states', () => {
  it('count as running unless they certainly are not', () => {
    assert.deepEqual(['created', 'configured', 'initialized'].map(phaseOf), [
      'created',
      'created',
      'created',
    ]);
    assert.deepEqual(['exited', 'stopped', 'removing'].map(phaseOf), ['exited', 'exited', 'exited']);
    assert.deepEqual(['running', 'stopping', 'paused', 'new'].map(phaseOf), Array(4).fill('running'));
  });
});

describe('ids of sandboxes', () => {
  it('cannot leave their directory', () => {
    for (const id of [
      '',
      '.',
      '..',
      'a/b',
      '../a',
      '/a',
      'a\0b',
      '-a',
      'sandbox_../../../../a',
      'a'.repeat(129),
    ])
      assert.equal(isSandboxId(id), false, id);
    assert.equal(isSandboxId(newSandboxId()), true);
    assert.equal(isSandboxId('flashpods-job_abcdefghijkl-12'), true, 'of the version before');
  });
});
