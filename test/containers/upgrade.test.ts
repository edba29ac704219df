import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { mergeMounts, STANDING_MOUNTS } from '../../src/containers/mounts.ts';
import { CgroupsV1 } from '../../src/containers/podman/cgroups/cgroup-v1.ts';
import { createBody } from '../../src/containers/podman/container/create-spec.ts';
import { LABELS } from '../../src/containers/podman/container/labels.ts';
import { bindOf, directoriesOf, prepareMount } from '../../src/containers/podman/sandbox/mounts.ts';
import { sandboxPaths } from '../../src/containers/podman/sandbox/paths.ts';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import { containerName } from '../../src/ids.ts';
import { finished, leftovers, startTestPodman, type TestPodman, testSpec } from '../support/podman.ts';

/** Before sandboxes had an id they had their container's name, and their record was `request.json`. */
describe('a sandbox of the version before', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  const leave = async (what: { readonly container: boolean }) => {
    const { runtime, service, directory, hostName, deploymentId } = podman;
    const spec = testSpec({ script: 'echo whole; echo x > /artifacts/a; exit 4' });
    const { jobId, epoch, cpus, memoryBytes, pidsLimit, diskBytes } = spec;
    const name = containerName(jobId, epoch);
    const paths = sandboxPaths(join(directory, 'data', 'sandboxes', name));
    const mounts = mergeMounts(STANDING_MOUNTS, spec.mounts);
    mkdirSync(paths.directory, { recursive: true, mode: 0o700 });
    for (const mount of mounts) prepareMount(paths, mount, runtime.facts.idBase);
    for (const { name: each } of directoriesOf(mounts))
      mkdirSync(join(paths.disk, each), { recursive: true });
    const v1 = runtime.facts.cgroupVersion === 1 && runtime.facts.limits;
    const cgroupParent = v1 ? `/flashpods/${hostName}.${deploymentId}/${name}` : null;
    if (cgroupParent !== null) new CgroupsV1('/').at(cgroupParent).make();
    const request = { name, diskBytes, cpus, memoryBytes, pidsLimit, cgroupParent };
    writeFileSync(paths.request, JSON.stringify(request));
    if (!what.container) return { jobId, name };
    const { rootless, idBase, ociRuntime } = runtime.facts;
    const { labels, ...body } = createBody(spec, {
      host: {
        ...{ hostName, deploymentId, rootless, idBase, ociRuntime },
        limits: { cpu: false, memory: false, pids: false },
        swapLimit: false,
        selinux: false,
        obeysAnnotations: false,
        seccompProfile: null,
        hardLimits: { nofile: 1024, nproc: 1024 },
      },
      name,
      sandbox: name,
      root: { image: spec.image, read_only_filesystem: true },
      binds: mounts.map((mount) => bindOf(paths, mount)),
      spool: paths.spool,
      cores: [],
      cgroupParent,
      argv: spec.command as readonly string[],
      env: {},
      filesUid: 0,
    });
    const { [LABELS.sandbox]: _none, ...known } = labels as Record<string, string>;
    const client = new PodmanClient(service.socketPath);
    await client.call('POST', '/containers/create', { body: { ...body, labels: known } });
    client.close();
    return { jobId, name };
  };

  it('with a container is taken over: started, followed to its exit code and log, and removed', async () => {
    const { runtime } = podman;
    const { jobId, name } = await leave({ container: true });
    const [seen] = await runtime.sandboxes();
    assert.deepEqual([seen?.sandbox.id, seen?.container?.phase], [name, 'created']);
    const sandbox = await runtime.find(jobId, 1);
    assert.ok(sandbox);
    assert.deepEqual([sandbox.id, sandbox.dispatch], [name, { jobId, epoch: 1 }]);
    await sandbox.start();
    const { state, output } = await finished(sandbox);
    assert.deepEqual([state.exitCode, output], [4, 'whole\n']);
    await sandbox.dispose();
    assert.deepEqual(await leftovers(runtime), []);
  });

  it('without one is known by its dispatch, and removed', async () => {
    const { runtime } = podman;
    const { jobId, name } = await leave({ container: false });
    const [seen] = await runtime.sandboxes();
    assert.deepEqual([seen?.sandbox.id, seen?.container], [name, null]);
    assert.deepEqual(seen?.sandbox.dispatch, { jobId, epoch: 1 });
    await seen?.sandbox.dispose();
    assert.deepEqual(await leftovers(runtime), []);
  });
});
