import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { EventStream } from '../support/event-stream.ts';
import { eventually } from '../support/eventually.ts';
import { texts } from '../support/http.ts';
import { type Stack, startStack } from '../support/stack.ts';

const HOST = { name: 'events', cpus: 8, memoryGb: 8 };
const LIFE = ['pending', 'queued', 'starting', 'running', 'running', 'completed'];

/** Listeners of a whole Flashpods: real jobs, and an API that is killed and started again. */
describe('the events of real jobs', () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({ workers: [HOST] });
  });
  after(() => stack.stop());

  /** Reads a stream to the end of its job, coming again whenever the connection breaks. */
  async function follow(
    id: string,
    between: (stream: EventStream) => Promise<unknown>,
  ): Promise<EventStream[]> {
    const streams: EventStream[] = [];
    for (;;) {
      const last = streams.findLast((stream) => stream.lastEventId !== '')?.lastEventId;
      const options = last === undefined ? {} : { lastEventId: last };
      const stream = await eventually('a stream opens', () =>
        EventStream.open(stack.caller, `/jobs/${id}/events`, options),
      );
      streams.push(stream);
      await between(stream);
      await stream.until('the stream ends', () => stream.ended);
      if (stream.statuses.at(-1) === 'completed') return streams;
    }
  }

  it('reach a listener whole: states, every line, artifacts, the end', async () => {
    const id = await stack.caller.submit(
      'for i in $(seq 1 200); do echo line $i; done; echo err >&2; echo a > /artifacts/a; mkdir /artifacts/d; echo b > /artifacts/d/b',
    );
    const stream = await EventStream.open(stack.caller, `/jobs/${id}/events`);
    await stream.until('it ends', () => stream.ended);
    assert.equal(stream.ended, 'cleanly');
    assert.deepEqual(stream.statuses, LIFE);
    const { output } = (await stack.caller.json<{ output: string }>('GET', `/jobs/${id}/output?tail=10000`))
      .body;
    assert.deepEqual(stream.lines, texts(output));
    assert.ok(stream.lines.includes('err'));
    assert.deepEqual(
      stream.of('artifact').map((artifact) => artifact['name']),
      ['a', 'd/b'],
    );
    assert.deepEqual(stream.of('state').at(-1), await stack.caller.job(id));
  });

  it('reach a listener whole although the API is killed again and again, and every listener of all jobs too', async () => {
    const all: EventStream[] = [await EventStream.open(stack.caller, '/events')];
    await all[0]?.until('it has begun', (stream) => stream.lastEventId !== '');
    const id = await stack.caller.submit(
      'for i in $(seq 1 120); do echo line $i; sleep 0.05; done; echo a > /artifacts/a',
    );
    let restarts = 0;
    const streams = await follow(id, async (stream) => {
      if (restarts === 3) return;
      await stream.until('some of it came', () => stream.lines.length >= 10 || stream.ended);
      // A stop in order and a kill, in turns.
      await stack.api.end(restarts % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
      restarts += 1;
      await stack.startApi();
      const last = all.findLast((each) => each.lastEventId !== '')?.lastEventId ?? '';
      all.push(await EventStream.open(stack.caller, '/events', { lastEventId: last }));
    });
    assert.equal(restarts, 3);
    const { output } = (await stack.caller.json<{ output: string }>('GET', `/jobs/${id}/output?tail=10000`))
      .body;
    assert.deepEqual(
      streams.flatMap((stream) => stream.lines),
      texts(output),
    );
    assert.equal(texts(output).filter((line) => line.startsWith('line ')).length, 120);
    assert.deepEqual(
      streams.flatMap((stream) => stream.statuses),
      LIFE,
    );
    assert.equal(streams.flatMap((stream) => stream.of('artifact')).length, 1);
    const told = (): unknown[] =>
      all.flatMap((stream) => stream.events.map(({ type, data }) => data['status'] ?? type));
    await eventually('they heard of the end', () => told().includes('completed'));
    assert.deepEqual(told(), [...LIFE.slice(0, -1), 'artifact', 'completed']);
    for (const stream of all) stream.close();
  });

  // How soon after its printing a line comes is measured in bench/logs.ts: tests share the machine.
  it('bring every line while the job runs', async () => {
    const id = await stack.caller.submit(
      'for i in $(seq 1 60); do echo line $i; done; while :; do sleep 0.1; done',
    );
    const stream = await EventStream.open(stack.caller, `/jobs/${id}/events`);
    await stream.until(
      'all are there',
      () => stream.lines.filter((line) => line.startsWith('line ')).length === 60,
    );
    assert.ok(!stream.ended);
    await stack.caller.json('DELETE', `/jobs/${id}`);
    await stream.until('it ends', ({ ended }) => ended);
  });

  it('of an ending that was asked for show the wish before the end', async () => {
    const id = await stack.caller.submit(
      'trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.1; done',
    );
    const stream = await EventStream.open(stack.caller, `/jobs/${id}/events`);
    await stream.until('it runs', () => stream.lines.includes('ready'));
    await stack.caller.json('DELETE', `/jobs/${id}`);
    await stream.until('it ends', () => stream.ended);
    assert.deepEqual(
      stream.of('state').map((job) => [job['status'], job['cancel_requested'], job['ending_reason']]),
      [
        ['pending', false, null],
        ['queued', false, null],
        ['starting', false, null],
        ['running', false, null],
        ['running', true, 'cancel'],
        ['cancelled', true, 'cancel'],
      ],
    );
    assert.ok(stream.lines.includes('bye'));
  });
});
