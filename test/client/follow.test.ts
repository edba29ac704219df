import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { afterEach, describe, it } from 'mocha';
import type { JobAnswer } from '../../src/client/answers.ts';
import { FlashpodsClient } from '../../src/client/client.ts';
import type { LogStart } from '../../src/logs/log-store.ts';
import { parseEvents, type ServerEvent } from '../../src/client/events.ts';
import { followJob } from '../../src/client/follow.ts';
import { connectionTo, failure, json, type Script, WireServer } from './wire-server.ts';

const ID = 'job_aaaaaaaaaaaa';

async function parsed(...chunks: string[]): Promise<ServerEvent[]> {
  async function* pieces(): AsyncGenerator<string> {
    yield* chunks;
  }
  const events: ServerEvent[] = [];
  for await (const event of parseEvents(pieces())) events.push(event);
  return events;
}

describe('a stream of events', () => {
  const text =
    ': flashpods\nretry: 1000\n\nid: 1.0\nevent: log\ndata: {"a":\ndata: "ä"}\n\n:\n\nevent: state\ndata: {}\n\n';
  const events = [
    { id: '1.0', type: 'log', data: { a: 'ä' } },
    { id: '1.0', type: 'state', data: {} },
  ];

  it('is read the same wherever it is cut', async () => {
    assert.deepEqual(await parsed(text), events);
    assert.deepEqual(await parsed(...text), events);
    for (let at = 0; at < text.length; at += 1)
      assert.deepEqual(await parsed(text.slice(0, at), text.slice(at)), events);
  });

  it('never shows half an event', async () => {
    assert.deepEqual(await parsed(text.slice(0, -1)), events.slice(0, 1));
  });

  it('is refused when it holds no JSON', async () => {
    await assert.rejects(parsed('data: x\n\n'), { code: 'unexpected_answer' });
  });
});

describe('following a job', () => {
  let server: WireServer;
  let client: FlashpodsClient;
  afterEach(async () => {
    client.close();
    await server.stop();
  });

  const serve = async (script: Script): Promise<void> => {
    server = await new WireServer(script).start();
    client = new FlashpodsClient(connectionTo(server.url));
  };
  const line = (seq: number): object => ({
    seq,
    time: '2026-01-01T00:00:00.000Z',
    stream: 'stdout',
    text: `${seq}`,
  });
  const log = (id: string, next: number, ...seqs: number[]): string =>
    `id: ${id}\nevent: log\ndata: ${JSON.stringify({ lines: seqs.map(line), next_offset: next })}\n\n`;
  const state = (id: string, status: string): string =>
    `id: ${id}\nevent: state\ndata: ${JSON.stringify({ id: ID, status })}\n\n`;
  const begin = (response: ServerResponse): ServerResponse =>
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  const asked = (): unknown[] =>
    server.seen.filter(({ path }) => path.endsWith('/events')).map(({ headers }) => headers['last-event-id']);

  async function follow(
    from: LogStart = { offset: 0 },
  ): Promise<{ lines: string[]; states: string[]; job: JobAnswer }> {
    const lines: string[] = [];
    const states: string[] = [];
    const job = await followJob(client, ID, {
      from,
      onLine: ({ text }) => void lines.push(text),
      onJob: ({ status }) => void states.push(status),
    });
    return { lines, states, job };
  }

  it('goes on after the last whole event when the stream breaks, ends early, or is refused for a while', async () => {
    let streams = 0;
    await serve(({ path }, response) => {
      if (!path.endsWith('/events')) return json(response, 200, { id: ID, status: 'running' });
      streams += 1;
      if (streams === 1) {
        begin(response).write(state('1.0', 'running') + log('1.10', 10, 1, 2));
        response.write('id: 1.20\nevent: log\ndata: {"lines":[{"seq":3', () => response.destroy());
      } else if (streams === 2) json(response, 503, failure('service_unavailable'));
      else if (streams === 3) begin(response).end(log('1.30', 30, 3));
      else if (streams === 4) response.destroy();
      else begin(response).end(log('1.40', 40, 4) + state('2.40', 'completed'));
    });
    const { lines, states, job } = await follow();
    assert.deepEqual(lines, ['1', '2', '3', '4']);
    assert.deepEqual(states, ['running', 'completed']);
    assert.equal(job.status, 'completed');
    assert.deepEqual(asked(), [undefined, '1.10', '1.10', '1.30', '1.30']);
  });

  it('begins a number of lines before the end, and goes on behind them', async () => {
    await serve(({ path, headers }, response) => {
      if (path.includes('/output')) {
        assert.match(path, /tail=2/);
        response.writeHead(200, { 'x-next-offset': '70' }).end(`${JSON.stringify(line(7))}\n`);
      } else {
        assert.equal(headers['last-event-id'], '0.70');
        begin(response).end(log('3.80', 80, 8) + state('4.80', 'failed'));
      }
    });
    assert.deepEqual((await follow({ tail: 2 })).lines, ['7', '8']);
  });

  it('polls a server that sends no stream', async () => {
    await serve(({ path }, response) => {
      if (path.includes('/output')) {
        const from = Number(/offset=(\d+)/.exec(path)?.[1]);
        response.writeHead(200, { 'x-next-offset': '2' });
        response.end(
          [1, 2]
            .slice(from)
            .map((seq) => `${JSON.stringify(line(seq))}\n`)
            .join(''),
        );
      } else if (path.endsWith('/events')) json(response, 404, failure('not_found'));
      else json(response, 200, { id: ID, status: 'completed' });
    });
    const { lines, job } = await follow();
    assert.deepEqual(lines, ['1', '2']);
    assert.equal(job.status, 'completed');
  });

  it('ends at once with a refusal', async () => {
    await serve((_seen, response) => json(response, 404, failure('job_not_found')));
    await assert.rejects(follow(), { code: 'job_not_found' });
    assert.equal(server.seen.length, 1);
  });

  it('tells the place of a waiting job as it moves', async () => {
    let place = 3;
    let stream: ServerResponse | null = null;
    await serve(({ path }, response) => {
      if (path.endsWith('/events')) {
        stream = begin(response);
        stream.write(state('1.0', 'queued'));
      } else {
        place -= 1;
        json(response, 200, { id: ID, status: 'queued', queue_position: place });
        if (place === 1) stream?.end(state('2.0', 'completed'));
      }
    });
    const places: unknown[] = [];
    await followJob(client, ID, {
      from: { offset: 0 },
      onLine: () => undefined,
      onJob: (job) => void places.push(job.queue_position ?? job.status),
    });
    assert.deepEqual(places.slice(0, 3), ['queued', 2, 1]);
    assert.equal(places.at(-1), 'completed');
  });
});
