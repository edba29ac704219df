import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { readOnlyRoot } from '../../src/containers/podman/container/root.ts';
import { Images } from '../../src/containers/podman/images/images.ts';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';

describe('an image as the root of a container', () => {
  const images = new Images(new PodmanClient('/nowhere/podman.sock'));
  const image = (oddAnnotations: readonly string[]) => ({
    ...{ name: 'localhost/x:1', id: '1', digest: 'sha256:1', user: '', oddAnnotations },
    ...{ entrypoint: [], command: [], env: {}, layers: [] },
  });

  it('is refused where it could tell the OCI runtime what to do', () => {
    const odd = image(['run.oci.hooks.stdout']);
    assert.throws(() => readOnlyRoot(images, odd, { isRoot: false, obeysAnnotations: true }), {
      code: 'container_start_failed',
      message: /annotation run\.oci\.hooks\.stdout/,
    });
    for (const [each, obeysAnnotations] of [
      [odd, false],
      [image([]), true],
    ] as const)
      assert.equal(
        readOnlyRoot(images, each, { isRoot: false, obeysAnnotations }).body['image'],
        'localhost/x:1',
      );
  });
});
