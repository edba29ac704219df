import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { texts } from '../support/http.ts';
import { type Registry, removeImage, startRegistry } from '../support/registry.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { type Stack, startStack } from '../support/stack.ts';

const HOST = { name: 'puller', cpus: 2, memoryGb: 4 };
const START_TIMEOUT_S = 8;

/** Real pulls, from a registry of the test's own. */
describe('a job whose image its host lacks', () => {
  const variable = 'CONTAINERS_REGISTRIES_CONF';
  const before_ = process.env[variable];
  const published: string[] = [];
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let registry: Registry;
  let stack: Stack;
  before(async () => {
    directory = await temporaryDirectory();
    registry = await startRegistry(directory.path);
    process.env[variable] = registry.configFile;
    stack = await startStack({
      workers: [HOST],
      env: { FLASHPODS_START_TIMEOUT_SECONDS: String(START_TIMEOUT_S), FLASHPODS_JOB_DISK_MB: '64' },
    });
  });
  after(async () => {
    if (before_ === undefined) delete process.env[variable];
    else process.env[variable] = before_;
    for (const image of published) await removeImage(stack.podman.socketPath, image);
    await (stack as Stack | undefined)?.stop();
    await registry.close();
    await directory.remove();
  });

  const publish = (name: string): string => {
    const image = registry.publish(name);
    published.push(image);
    return image;
  };
  const pulling = (id: string): Promise<string> =>
    eventually('it says that its image is pulled', async () => {
      const { status, waiting_reason: reason } = await stack.caller.job(id);
      return status === 'queued' && /^Pulling .*\(/.test(String(reason)) ? String(reason) : null;
    });
  const reserved = async (): Promise<number> => (await stack.queues.semaphore.view()).reservations.length;

  it('stays queued without holding anything until the image is there, and its log tells of the pull', async () => {
    const image = publish('held/one');
    registry.hold('held/one');
    const id = await stack.caller.submit('echo ran', { image });
    const reason = await pulling(id);
    assert.ok(reason.startsWith(`Pulling ${image} on ${HOST.name} (`), reason);
    assert.equal(await reserved(), 0);
    // All of the host is there for others meanwhile.
    const other = await stack.caller.submit('true', { cpus: HOST.cpus });
    assert.equal((await stack.caller.ended(other)).status, 'completed');
    assert.equal((await stack.caller.job(id)).status, 'queued');
    registry.release('held/one');
    assert.equal((await stack.caller.ended(id)).status, 'completed');
    const lines = texts(await stack.caller.output(id));
    assert.equal(lines.at(-1), 'ran');
    assert.ok(
      lines.some((line) => line.includes(`Trying to pull ${image}`)),
      lines.join('\n'),
    );
  });

  it('shares the pull with another job that wants the same', async () => {
    const image = publish('shared/one');
    registry.hold('shared/one');
    const ids = [
      await stack.caller.submit('echo 1', { image }),
      await stack.caller.submit('echo 2', { image }),
    ];
    for (const id of ids) await pulling(id);
    registry.release('shared/one');
    for (const id of ids) assert.equal((await stack.caller.ended(id)).status, 'completed');
    assert.equal(registry.pulls('shared/one'), 1);
  });

  it('is cancelled at once', async () => {
    registry.hold((publish('cancelled/one'), 'cancelled/one'));
    const id = await stack.caller.submit('true', { image: `${registry.host}/cancelled/one:1` });
    await pulling(id);
    const { body } = await stack.caller.json('DELETE', `/jobs/${id}`);
    assert.equal(body['status'], 'cancelled');
    registry.release('cancelled/one');
  });

  it('waits no longer than its max_queue_seconds', async () => {
    const image = publish('patience/one');
    registry.hold('patience/one');
    const id = await stack.caller.submit('true', { image, max_queue_seconds: 2 });
    const job = await stack.caller.ended(id);
    assert.deepEqual([job.status, job.error], ['failed', 'queue_timeout']);
    registry.release('patience/one');
  });

  it('fails with what the registry said, and a later one tries again', async () => {
    const image = `${registry.host}/late/one:1`;
    const failed = await stack.caller.ended(await stack.caller.submit('true', { image }));
    assert.deepEqual([failed.status, failed.error, failed.host], ['failed', 'image_pull_failed', null]);
    assert.match(failed.error_message ?? '', /late\/one:1: .*has no such image/);
    await eventually('its log says so', async () =>
      texts(await stack.caller.output(failed.id)).some((line) => line.includes('late/one')),
    );
    publish('late/one');
    const later = await stack.caller.ended(await stack.caller.submit('true', { image }));
    assert.equal(later.status, 'completed');
  });

  it('goes on with the next worker of the host when one is killed in the middle of the pull', async () => {
    const image = publish('killed/one');
    registry.hold('killed/one');
    const id = await stack.caller.submit('exit 7', { image });
    await pulling(id);
    await stack.worker(HOST.name).end('SIGKILL');
    await stack.startWorker(HOST);
    registry.release('killed/one');
    assert.equal((await stack.caller.ended(id)).exit_code, 7);
  });

  it('fails when the pull takes longer than a start may', async () => {
    const image = publish('hung/one');
    registry.hold('hung/one');
    const job = await stack.caller.ended(await stack.caller.submit('true', { image }));
    assert.deepEqual([job.status, job.error], ['failed', 'image_pull_failed']);
    assert.match(job.error_message ?? '', new RegExp(`longer than ${START_TIMEOUT_S} seconds`));
    registry.release('hung/one');
  });

  it('pulls again while it starts when the image vanished since it was there', async () => {
    const image = publish('vanished/one');
    assert.equal(
      (await stack.caller.ended(await stack.caller.submit('true', { image }))).status,
      'completed',
    );
    await removeImage(stack.podman.socketPath, image);
    assert.equal(
      (await stack.caller.ended(await stack.caller.submit('true', { image }))).status,
      'completed',
    );
    assert.equal(registry.pulls('vanished/one'), 2);
  });
});
