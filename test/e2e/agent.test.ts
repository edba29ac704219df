import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sandboxPaths } from '../../src/containers/podman/sandbox/paths.ts';
import { after, before, describe, it } from 'mocha';
import { makeImage, type TestImage } from '../support/agent-image.ts';
import { eventually } from '../support/eventually.ts';
import { texts } from '../support/http.ts';
import { fingerprint, makeRepository } from '../support/repository.ts';
import { type Stack, startStack } from '../support/stack.ts';

const HOST = { name: 'agents', cpus: 4, memoryGb: 8 };

/** From an upload over HTTP to the patch, with the worker killed in between. */
describe('an agent job through the API', () => {
  let stack: Stack;
  let image: TestImage;
  let repository: string;
  before(async () => {
    image = await makeImage();
    stack = await startStack({ workers: [HOST], env: { FLASHPODS_AGENT_IMAGE: image.name } });
    repository = join(stack.dir, 'repository');
    await mkdir(repository);
    makeRepository(repository);
  });
  after(async () => {
    await stack?.stop();
    await image?.remove();
  });

  const sandboxes = (): string => join(stack.dir, 'hosts', HOST.name, 'sandboxes');

  async function upload(): Promise<string> {
    const { body } = await stack.caller.json<{ upload_id: string }>('POST', '/uploads');
    const tar = execFileSync('tar', ['-C', repository, '-cf', '-', '.'], { maxBuffer: 64 * 2 ** 20 });
    const headers = { 'content-type': 'application/x-tar' };
    const put = await stack.caller.fetch(`/uploads/${body.upload_id}/files`, {
      method: 'PUT',
      body: new Uint8Array(tar),
      headers,
    });
    assert.equal(put.status, 200, await put.text());
    const finalized = await stack.caller.json('POST', `/uploads/${body.upload_id}/finalize`, {});
    assert.equal(finalized.status, 200, JSON.stringify(finalized.body));
    return body.upload_id;
  }

  const create = async (request: Record<string, unknown>): Promise<string> => {
    const job = {
      type: 'agent',
      git_branch: 'agent/work',
      network: 'none',
      cpus: 99,
      memory_gb: 1,
      ...request,
    };
    const { status, body } = await stack.caller.json('POST', '/jobs', job);
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body['cpus'], 4, 'the maximum of an agent');
    return String(body['job_id']);
  };

  it('is adopted by the next worker after kill -9, and its patch arrives', async () => {
    const filesId = await upload();
    const snapshot = join(stack.dir, 'uploads', 'snapshots', `${filesId}.layer`, 'work');
    const before = fingerprint(snapshot);
    const task = `set -e
      git fsck --strict; git status --porcelain; git log --format=%s
      git checkout -q -b "$FLASHPODS_GIT_BRANCH"
      echo changed >> src/main.c; echo working
      until [ -e /tmp/go ]; do sleep 0.05; done
      git -c user.name=A -c user.email=a@localhost commit -qam changed
      git format-patch --stdout main > /artifacts/changes.patch; echo "done"`;
    const id = await create({ task, context: 'carefully', files_id: filesId });
    await eventually('it works', async () => texts(await stack.caller.output(id)).includes('working'));
    await stack.worker(HOST.name).end('SIGKILL');
    await stack.startWorker(HOST);
    assert.equal((await stack.caller.job(id)).status, 'running');
    const [sandbox = ''] = readdirSync(sandboxes());
    const { root } = sandboxPaths(join(sandboxes(), sandbox));
    await writeFile(join(root, 'tmp', 'go'), '');
    const job = await stack.caller.ended(id);
    const printed = texts(await stack.caller.output(id));
    assert.deepEqual([job.status, job.exit_code], ['completed', 0], printed.join('\n'));
    assert.deepEqual(printed, ['first', 'working', 'done']);
    assert.deepEqual(
      [job['type'], job['task'], job['context'], job['git_branch'], job['git_url'], job['timeout_minutes']],
      ['agent', task, 'carefully', 'agent/work', null, 60],
    );
    const patch = await (await stack.caller.fetch(`/jobs/${id}/artifacts/changes.patch`)).text();
    assert.match(patch, /^\+changed$/m);
    execFileSync('git', ['-C', repository, 'apply', '--check'], { input: patch });
    assert.equal(fingerprint(snapshot), before);
  });

  it('killed with its worker leaves no sandbox, mount or directory', async () => {
    const id = await create({ task: 'echo x > file; echo begun; sleep 60' });
    await eventually('it works', async () => texts(await stack.caller.output(id)).includes('begun'));
    await stack.worker(HOST.name).end('SIGKILL');
    assert.equal((await stack.caller.json('DELETE', `/jobs/${id}`)).status, 200);
    await stack.startWorker(HOST);
    assert.equal((await stack.caller.ended(id)).status, 'cancelled');
    await eventually('its sandbox is gone', () => readdirSync(sandboxes()).length === 0);
  });
});
