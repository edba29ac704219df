import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { execa } from 'execa';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { eventually } from '../support/eventually.ts';
import { texts } from '../support/http.ts';
import { type Stack, startStack } from '../support/stack.ts';

const NODE = 'localhost/flashpods/node:latest';
const BUILD = new URL('../../images/build', import.meta.url).pathname;
const SMALL = { cpus: 1, memory_gb: 1 };

interface Listed {
  readonly name: string;
  readonly programs: Readonly<Record<string, string>>;
  readonly hosts: readonly string[];
}

/** The quickest of the images: a layer of npm's Node, here on the stand-in for the base image. */
describe('an image of ours', () => {
  let stack: Stack;
  let isMade = false;

  before(async () => {
    // Somebody's own is neither to be removed nor to be made anew.
    const { exitCode } = await execa('podman', ['image', 'exists', NODE], { reject: false });
    assert.notEqual(
      exitCode,
      0,
      `${NODE} is here already: run ./run-tests, which has a Podman storage of its own`,
    );
    stack = await startStack({ workers: [{ name: 'one', cpus: 2, memoryGb: 4 }] });
  });
  after(async () => {
    await stack?.stop();
    if (isMade) await execa('podman', ['rmi', NODE]);
  });

  const listed = async (query = ''): Promise<readonly Listed[]> =>
    (await stack.caller.json('GET', `/images${query}`)).body['images'] as readonly Listed[];

  it('that is not there is refused with how to make it and what there is, and looked for in no registry', async () => {
    await eventually('the host has said what it has', async () => (await listed()).length > 0);
    const { status, body } = await stack.caller.json('POST', '/jobs', {
      type: 'worker',
      command: 'node --version',
      image: 'node',
      ...SMALL,
    });
    assert.deepEqual([status, body['error']], [422, 'image_not_found']);
    assert.match(String(body['message']), /`flashpods image build node`.*Images here: .*base/);
  });

  it('is made, listed with what is in it, found by its programs, and runs jobs by its short name', async function () {
    this.timeout(600_000);
    isMade = true;
    await execa(BUILD, ['--from', BASE_IMAGE, 'node']);
    const node = await eventually('it is listed', async () =>
      (await listed('?program=npm')).find(({ name }) => name === 'node'),
    );
    assert.deepEqual(node.hosts, ['one']);
    const { body } = await stack.caller.json('POST', '/jobs', {
      type: 'worker',
      command:
        'set -e; node --version; npm --version; yarn --version; pnpm --version; stat -c %U /usr/local/bin/node',
      image: 'node',
      network: 'none',
      ...SMALL,
    });
    const id = String(body['job_id']);
    const job = await stack.caller.ended(id);
    const output = await stack.caller.output(id);
    assert.equal(job['exit_code'], 0, output);
    assert.equal(job['image'], NODE);
    const { node: version, npm, yarn, pnpm } = node.programs;
    assert.deepEqual(texts(output), [`v${version}`, npm, yarn, pnpm, 'job']);
    assert.match(version ?? '', /^24\./);
  });

  it('is known to be made of these very inputs', async () => {
    await execa(BUILD, ['--is-made', 'node']);
  });

  it('is removed from the hosts, but not while a job uses it', async () => {
    const remove = async (): Promise<unknown> => {
      const { status, body } = await stack.caller.json('DELETE', '/images?image=node');
      return status === 200 ? body['hosts'] : body['error'];
    };
    const command = 'echo begun; sleep 1000';
    const job = { type: 'worker', command, image: 'node', ...SMALL };
    const id = String((await stack.caller.json('POST', '/jobs', job)).body['job_id']);
    await eventually('it runs', async () => (await stack.caller.output(id)).includes('begun'));
    assert.equal(await remove(), 'image_in_use');
    await stack.caller.json('DELETE', `/jobs/${id}`);
    await stack.caller.ended(id);
    await eventually('nothing uses it', async () => (await remove()) !== 'image_in_use');
    assert.equal((await execa('podman', ['image', 'exists', NODE], { reject: false })).exitCode, 1);
    assert.equal(await remove(), 'image_not_found');
    isMade = false;
  });
});
