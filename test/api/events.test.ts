import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import type { ApiResources } from '../../api/resources.ts';
import { EventsFeed } from '../../src/jobs/events-feed.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import type { LogCapture } from '../../src/logs/log-store.ts';
import { allEvents, jobEvents } from '../../api/routes/events/stream.ts';
import { entry, spoolOf } from '../logs/spool.ts';
import { EventStream } from '../support/event-stream.ts';
import { eventually } from '../support/eventually.ts';
import { into } from '../support/jobs.ts';
import { silent } from '../support/redis.ts';
import { makeCompleted, makeRunning, makeStarting } from './job-states.ts';
import { type ApiOptions, type RunningApi, startApi } from './running-api.ts';

const ARTIFACTS = ['a', 'b', 'c'].map((name) => ({
  name,
  sizeBytes: 3,
  sha256: 'f'.repeat(64),
  createdAt: 0,
}));
const WHOLE_LIFE = ['pending', 'queued', 'starting', 'running', 'running', 'completed'];

/** Counts what the API reads of the journal, and can fail for a while. */
class Readings {
  count = 0;
  failing = false;

  readonly of = (own: ApiResources['journal']): ApiResources['journal'] => ({
    read: (filter) => own.read(filter),
    bounds: () => own.bounds(),
    readWithJobs: (filter) => {
      this.count += 1;
      return this.failing ? Promise.reject(new Error('away')) : own.readWithJobs(filter);
    },
  });
}

describe('the events of the API', () => {
  let api: RunningApi;
  const readings = new Readings();
  const open: EventStream[] = [];

  before(async () => {
    api = await startApi({ journal: readings.of, config: { streamsPerToken: 2_000, streams: 2_000 } });
    await mkdir(logsDir());
  });
  after(() => api.stop());
  afterEach(() => {
    for (const stream of open.splice(0)) stream.close();
  });

  const logsDir = (): string => join(api.dir, 'logs');
  const listen = async (
    path: string,
    options?: Parameters<typeof EventStream.open>[2],
  ): Promise<EventStream> => {
    const stream = await EventStream.open(api.caller, path, options);
    open.push(stream);
    return stream;
  };
  const capture = (jobId: string): Promise<LogCapture> =>
    new LocalLogStore(logsDir()).capture({ jobId, spoolPath: join(api.dir, `${jobId}.spool`) });
  const newest = async (): Promise<number> => (await api.journal.bounds()).newest;
  /** A job with its whole life behind it: two lines of log before it ran, two while it did, three artifacts. */
  const wholeJob = async (): Promise<string> => {
    const id = await api.caller.submit('make');
    await makeStarting(api.store, id);
    const log = await capture(id);
    for (const line of ['one', 'two', 'three', 'four']) log.system(line);
    await log.finish();
    const running = {
      from: ['starting'],
      ...into('running'),
      patch: { startedAt: Date.now() },
      actor: 'test',
    } as const;
    await api.store.transition(id, running);
    await endOf(id);
    return id;
  };
  const endOf = async (id: string): Promise<void> => {
    await api.store.decideEnding(id, 'exit', 'test', { patch: { endedAt: Date.now() } });
    await api.store.transition(id, {
      from: ['running'],
      ...into('completed'),
      patch: { exitCode: 0, endedAt: Date.now(), completedAt: Date.now() },
      artifacts: ARTIFACTS,
      actor: 'test',
    });
    api.queues.announcements.announce(id, null);
  };

  describe('of one job', () => {
    it('are its states as they come, then the rest of its log, its artifacts and its last state; then the stream ends', async () => {
      const id = await api.caller.submit('make');
      const stream = await listen(`/jobs/${id}/events`);
      assert.equal(stream.status, 200);
      assert.match(String(stream.headers['content-type']), /^text\/event-stream/);
      await stream.until('it is queued', () => stream.statuses.includes('queued'));
      await makeRunning(api.store, id);
      api.queues.announcements.announce(id, null);
      await stream.until('it runs', () => stream.statuses.includes('running'));
      const log = await capture(id);
      log.system('one');
      await stream.until('a line comes while the job runs', () => stream.lines.includes('one'));
      log.system('two');
      await log.finish();
      await endOf(id);
      await stream.until('the stream ends', () => stream.ended);
      assert.equal(stream.ended, 'cleanly');
      assert.deepEqual(stream.statuses, WHOLE_LIFE);
      assert.deepEqual(stream.lines, ['one', 'two']);
      assert.deepEqual(
        stream.events.slice(-4).map(({ type, data }) => [type, data['name'] ?? data['status']]),
        [
          ['artifact', 'a'],
          ['artifact', 'b'],
          ['artifact', 'c'],
          ['state', 'completed'],
        ],
      );
      assert.deepEqual(stream.of('state').at(-1), await api.caller.job(id));
      const { artifacts } = (await api.caller.json<{ artifacts: object[] }>('GET', `/jobs/${id}/artifacts`))
        .body;
      assert.deepEqual(
        stream.of('artifact'),
        artifacts.map((artifact) => ({ job_id: id, ...artifact })),
      );
      const positions = (await api.journal.read({ jobId: id, limit: 100 })).map(({ position }) => position);
      const states = stream.events.filter(({ type }) => type === 'state');
      assert.deepEqual(
        states.map((event) => Number(event.id.split('.')[0])),
        positions,
      );
    });

    it('tell a late listener of every state as it was then', async () => {
      const id = await api.caller.submit('make');
      const live = await listen(`/jobs/${id}/events`);
      for (const step of [makeStarting, null]) {
        if (step) await step(api.store, id);
        else
          await api.store.transition(id, {
            from: ['starting'],
            ...into('running'),
            patch: { startedAt: Date.now() },
            actor: 'test',
          });
        api.queues.announcements.announce(id, null);
        const expected = step ? 'starting' : 'running';
        await live.until(`it is ${expected}`, () => live.statuses.includes(expected));
      }
      await api.store.decideEnding(id, 'cancel', 'test');
      api.queues.announcements.announce(id, null);
      await live.until('it is being cancelled', () => live.of('state').at(-1)?.['cancel_requested']);
      await api.store.transition(id, {
        from: ['running'],
        ...into('cancelled'),
        patch: { exitCode: 137, endedAt: Date.now(), completedAt: Date.now(), warnings: ['w'], error: 'e' },
        actor: 'test',
      });
      api.queues.announcements.announce(id, null);
      await live.until('it ends', () => live.ended);
      const late = await (await listen(`/jobs/${id}/events`)).until('it ends', (stream) => stream.ended);
      // How it stands in the queue and the seconds so far are of the moment of telling.
      const waiting = {
        queue_position: null,
        waiting_reason: null,
        latest_start: null,
        estimated_start: null,
      };
      const telling = { ...waiting, elapsed_seconds: 0, queue_seconds: 0 };
      const lasting = (stream: EventStream): object[] =>
        stream.of('state').map((job) => ({ ...job, ...telling }));
      assert.deepEqual(lasting(late), lasting(live));
      assert.deepEqual(
        late.events.map((event) => event.id),
        live.events.map((event) => event.id),
      );
    });

    it('go on after any event without a gap and without a repetition', async () => {
      const id = await wholeJob();
      const whole = await (await listen(`/jobs/${id}/events`)).until('it ends', (stream) => stream.ended);
      assert.deepEqual(whole.statuses, WHOLE_LIFE);
      assert.deepEqual(whole.lines, ['one', 'two', 'three', 'four']);
      assert.equal(new Set(whole.events.map((event) => event.id)).size, whole.events.length);
      const entries = (stream: EventStream, from = 0): unknown[] =>
        stream.events
          .slice(from)
          .filter(({ type }) => type !== 'log')
          .map(({ id: eventId, type }) => [eventId.replace(/\.\d+/, ''), type]);
      for (const [index, last] of whole.events.slice(0, -1).entries()) {
        const rest = await listen(`/jobs/${id}/events`, { lastEventId: last.id });
        await rest.until('it ends', () => rest.ended);
        assert.deepEqual(entries(rest), entries(whole, index + 1), `after ${last.id}`);
        const told = whole.events
          .slice(0, index + 1)
          .flatMap(({ type, data }) => (type === 'log' ? [data] : []));
        const before = told.flatMap((log) => (log['lines'] as { text: string }[]).map(({ text }) => text));
        assert.deepEqual([...before, ...rest.lines], whole.lines, `after ${last.id}`);
      }
    });

    it('answer 204 when all was told, so that an EventSource does not come again', async () => {
      const id = await wholeJob();
      const whole = await (await listen(`/jobs/${id}/events`)).until('it ends', (stream) => stream.ended);
      const again = await listen(`/jobs/${id}/events`, { lastEventId: whole.lastEventId });
      assert.equal(again.status, 204);
    });

    it('come whole through a connection that breaks again and again while the job prints', async () => {
      const id = await api.caller.submit('make');
      await makeRunning(api.store, id);
      const log = await capture(id);
      const lines: string[] = [];
      const states: unknown[] = [];
      let last: string | undefined;
      let printed = 0;
      const writer = setInterval(() => {
        for (let n = 0; n < 3 && printed < 600; n += 1) log.system(`line ${(printed += 1)}`);
      }, 2);
      try {
        while (printed < 600) {
          const stream = await listen(`/jobs/${id}/events`, last === undefined ? {} : { lastEventId: last });
          await stream.until('something comes', () => stream.events.length > 0);
          stream.close();
          lines.push(...stream.lines);
          states.push(...stream.statuses);
          last = stream.events.at(-1)?.id;
        }
      } finally {
        clearInterval(writer);
      }
      await log.finish();
      await endOf(id);
      assert.ok(last !== undefined);
      const rest = await listen(`/jobs/${id}/events`, { lastEventId: last });
      await rest.until('it ends', () => rest.ended);
      assert.deepEqual(
        [...lines, ...rest.lines],
        Array.from({ length: 600 }, (_, index) => `line ${index + 1}`),
      );
      assert.deepEqual([...states, ...rest.statuses], WHOLE_LIFE);
    });

    it('do not end before the last ones, though the job has ended and nobody said so', async () => {
      const id = await api.caller.submit('make');
      await makeRunning(api.store, id);
      const all = await listen('/events');
      await all.until('the journal is being read', () => all.lastEventId !== '');
      const last = await newest();
      await api.store.decideEnding(id, 'exit', 'test');
      await api.store.transition(id, { from: ['running'], ...into('failed'), actor: 'test' });
      const rest = await listen(`/jobs/${id}/events`, { lastEventId: String(last) });
      await rest.until('it ends', () => rest.ended);
      assert.deepEqual(rest.statuses, ['running', 'failed']);
    });

    // That it takes less than 100 ms is measured in bench/logs.ts: tests share the machine.
    it('bring each line as it is printed, while the job runs', async () => {
      const id = await api.caller.submit('make');
      await makeRunning(api.store, id);
      const log = await capture(id);
      log.system('first');
      const stream = await listen(`/jobs/${id}/events`);
      await stream.until('it follows', () => stream.lines.length > 0);
      for (let n = 0; n < 40; n += 1) {
        log.system(`line ${n}`);
        await stream.until('the line comes', () => stream.lines.includes(`line ${n}`));
      }
      await log.finish();
    });

    it('of a job that is cleaned are its states only', async () => {
      const id = await wholeJob();
      await api.store.transition(id, { from: ['completed'], ...into('cleaning'), actor: 'test' });
      await api.store.patch(id, 1, { artifactsDeletedAt: Date.now(), logsDeletedAt: Date.now() });
      await api.store.transition(id, { from: ['cleaning'], ...into('cleaned'), actor: 'test' });
      const stream = await (await listen(`/jobs/${id}/events`)).until('it ends', ({ ended }) => ended);
      assert.deepEqual(stream.statuses, [...WHOLE_LIFE, 'cleaning', 'cleaned']);
      assert.deepEqual(stream.of('artifact'), []);
    });

    it('answer 404 for a job that is not there', async () => {
      const { status, body } = await api.caller.json('GET', '/jobs/job_aaaaaaaaaaaa/events');
      assert.deepEqual([status, body['error']], [404, 'job_not_found']);
    });
  });

  describe('of all jobs', () => {
    it('begin now, and say where that is', async () => {
      await wholeJob();
      const position = await newest();
      const stream = await listen('/events');
      await stream.until('it has begun', () => stream.lastEventId !== '');
      assert.equal(stream.lastEventId, String(position));
      const id = await api.caller.submit('make');
      await stream.until('it hears of the job', () => stream.events.length >= 2);
      assert.deepEqual(
        stream.events.map((event) => [event.id, event.data['id'], event.data['status']]),
        [
          [String(position + 1), id, 'pending'],
          [String(position + 2), id, 'queued'],
        ],
      );
    });

    it('go on after any position of the journal, artifacts included', async () => {
      const start = await newest();
      const id = await wholeJob();
      const end = await newest();
      const whole = await listen(`/events?last_event_id=${start}`);
      await whole.until('all came', () => whole.lastEventId === String(end));
      assert.deepEqual(whole.statuses, WHOLE_LIFE);
      assert.deepEqual(
        whole.of('artifact').map((artifact) => [artifact['job_id'], artifact['name']]),
        ARTIFACTS.map(({ name }) => [id, name]),
      );
      const ids = whole.events.map((event) => event.id);
      for (const [index, last] of ids.slice(0, -1).entries()) {
        const rest = await listen('/events', { lastEventId: last });
        await rest.until('all came', () => rest.lastEventId === String(end));
        assert.deepEqual(
          rest.events.map((event) => event.id),
          ids.slice(index + 1),
        );
        rest.close();
      }
    });

    it('are the whole journal from 0, in its order', async () => {
      const stream = await listen('/events?last_event_id=0');
      const end = await newest();
      await stream.until('all came', () => stream.lastEventId === String(end));
      const positions = stream.events.filter(({ type }) => type === 'state').map((event) => Number(event.id));
      assert.deepEqual(
        positions,
        Array.from({ length: end }, (_, index) => index + 1),
      );
    });

    it('are all there however large the jobs are', async () => {
      const start = await newest();
      for (let n = 0; n < 6; n += 1) {
        const body = { type: 'agent', task: 't', git_branch: 'main', context: String(n).repeat(100_000) };
        assert.equal((await api.caller.json('POST', '/jobs', body)).status, 201);
      }
      const end = await newest();
      const stream = await listen(`/events?last_event_id=${start}`);
      await stream.until('the last came', () => stream.lastEventId === String(end));
      assert.equal(stream.events.length, end - start);
      assert.ok(stream.of('state').every((job) => String(job['context']).length === 100_000));
    });

    it('believe the header rather than the address, which an EventSource repeats', async () => {
      const start = await newest();
      await api.caller.submit('make');
      const end = await newest();
      const stream = await listen(`/events?last_event_id=${start}`, { lastEventId: String(end - 1) });
      await stream.until('the last one came', () => stream.lastEventId === String(end));
      assert.equal(stream.events.length, 1);
    });

    it('come by themselves when nobody announces them', async () => {
      const id = await api.caller.submit('make');
      const stream = await listen('/events');
      await stream.until('it has begun', () => stream.lastEventId !== '');
      await makeRunning(api.store, id);
      await stream.until('it hears of it', () => stream.statuses.includes('running'), 3_000);
    });

    it('outlive a database that does not answer for a while', async () => {
      const stream = await listen('/events');
      await stream.until('it has begun', () => stream.lastEventId !== '');
      readings.failing = true;
      const id = await api.caller.submit('make');
      const behind = await listen(`/jobs/${id}/events`);
      await behind.until('it is told that the stream lives', () => behind.comments > 1);
      readings.failing = false;
      for (const each of [stream, behind]) {
        await each.until('it hears of it', () => each.statuses.includes('queued'));
        assert.deepEqual(each.statuses, ['pending', 'queued']);
      }
    });
  });

  it('are only of what the listener may see', async () => {
    const { body } = await api.caller.json('POST', '/tokens', {
      name: 'events-of-alice',
      owner: 'alice',
      scopes: ['jobs:read', 'jobs:write'],
    });
    const token = String(body['token']);
    const start = await newest();
    const foreign = await api.caller.submit('make');
    const own = await api.caller.fetch('/jobs', {
      method: 'POST',
      body: JSON.stringify({ type: 'worker', command: 'make' }),
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    });
    const ownId = ((await own.json()) as { job_id: string }).job_id;
    const stream = await listen(`/events?last_event_id=${start}`, { token });
    await stream.until('its own comes', () => stream.statuses.includes('queued'));
    assert.deepEqual(
      stream.of('state').map((job) => job['id']),
      [ownId, ownId],
    );
    const other = await listen(`/jobs/${foreign}/events`, { token });
    assert.equal(other.status, 404);
    const all = await listen(`/events?last_event_id=${start}`);
    await all.until('an admin sees both', () => new Set(all.of('state').map((job) => job['id'])).size === 2);
  });

  it('end for a listener whose token is revoked', async () => {
    const owner = 'revoked';
    const { body } = await api.caller.json('POST', '/tokens', { name: owner, owner, scopes: ['jobs:read'] });
    const stream = await listen('/events', { token: String(body['token']) });
    await stream.until('it has begun', () => stream.lastEventId !== '');
    const { status } = await api.caller.fetch(`/tokens/${owner}`, { method: 'DELETE' });
    assert.ok(status < 300, String(status));
    await stream.until('it ends', () => stream.ended, 3_000);
  });

  it('come to a page of this server, whose EventSource can show its session only', async () => {
    const signedIn = await fetch(`${api.server.url}/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: api.token }),
    });
    const cookie = signedIn.headers.get('set-cookie')?.split(';')[0] ?? '';
    const id = await api.caller.submit('make');
    const look = async (path: string, headers: Record<string, string>): Promise<number> => {
      const gone = new AbortController();
      const url = `${api.server.url}${path}`;
      const { status } = await fetch(url, { headers: { cookie, ...headers }, signal: gone.signal });
      gone.abort();
      return status;
    };
    for (const path of ['/events', `/jobs/${id}/events`]) {
      assert.equal(await look(path, { 'sec-fetch-site': 'same-origin' }), 200, path);
      assert.equal(await look(path, { 'sec-fetch-site': 'same-site' }), 403, path);
      assert.equal(await look(path, { origin: 'http://127.0.0.1:1' }), 403, path);
    }
    assert.equal(await look(`/jobs/${id}`, {}), 401);
    assert.equal(await look('/jobs/x/y/events', {}), 401);
  });

  it('are in the OpenAPI document as streams', async () => {
    interface Described {
      paths: Record<string, { get: { parameters: { in: string; name: string }[]; responses: object } }>;
    }
    const { paths } = (await api.caller.json<Described>('GET', '/openapi.json')).body;
    for (const path of ['/events', '/jobs/{id}/events']) {
      const described = paths[path]?.get;
      assert.ok(JSON.stringify(described?.responses).includes('"text/event-stream"'), path);
      const names = described?.parameters.map((parameter) => `${parameter.in} ${parameter.name}`) ?? [];
      for (const name of ['query last_event_id', 'header Last-Event-ID'])
        assert.ok(names.includes(name), name);
    }
  });

  it('refuse what never was the id of an event', async () => {
    const id = await wholeJob();
    const end = await newest();
    const wrong = [
      'x',
      '-1',
      '1.',
      '.1',
      '1.2.3.4',
      '1.2.x',
      '1e3',
      ' 1x',
      `${end + 1}`,
      '9'.repeat(15),
      '9'.repeat(16),
      `${end + 1}.0.1`,
      '0.0.1',
      '1.0.0',
    ];
    for (const path of ['/events', `/jobs/${id}/events`]) {
      for (const last of [...wrong, ...(path === '/events' ? [] : [`${end}.999999`])]) {
        const byQuery = await api.caller.json<{ error: string; details: { field: string } }>(
          'GET',
          `${path}?last_event_id=${encodeURIComponent(last)}`,
        );
        assert.deepEqual([byQuery.status, byQuery.body.error], [400, 'invalid_request'], `${path} ${last}`);
        assert.equal(byQuery.body.details.field, 'last_event_id');
        const byHeader = await listen(path, { lastEventId: last });
        assert.equal(byHeader.status, 400, `${path} ${last}`);
      }
      const empty = await api.caller.json('GET', `${path}?last_event_id=`);
      assert.equal(empty.status, 400);
    }
  });

  it('answer HEAD with the headers alone', async () => {
    const answer = await api.caller.fetch('/events', { method: 'HEAD' });
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type') ?? '', /^text\/event-stream/);
  });

  it('carry a comment every so often, on a quiet stream and on a busy one', async () => {
    const quiet = await api.caller.submit('make');
    const feed = new EventsFeed({
      journal: api.journal,
      queries: api.queries,
      onChange: () => () => undefined,
      wait: () => Promise.resolve(null),
      logger: silent,
    });
    const resources = { feed, logs: new LocalLogStore(logsDir()), logger: silent, keepAliveMs: 100 };
    const gone = new AbortController();
    const begin = { after: await newest(), logOffset: 0, artifacts: 0 };
    const job = await api.queries.get(quiet);
    assert.ok(job);
    const streams = [
      allEvents(resources, begin, null, gone.signal),
      jobEvents(resources, begin, job, gone.signal),
    ];
    const busy = setInterval(
      () => void api.store.create({ ...job, id: `job_${Math.random()}`, clientJobId: null }),
      20,
    );
    try {
      for (const stream of streams) {
        const at: number[] = [];
        await stream.next();
        const begun = performance.now();
        while (at.length < 3) {
          const { value } = await stream.next();
          if (value === ':\n\n') at.push(performance.now() - begun);
        }
        assert.ok((at[2] ?? 0) >= 290 && (at[2] ?? Infinity) < 2_000, at.join(' '));
      }
    } finally {
      clearInterval(busy);
      gone.abort();
      for (const stream of streams) await stream.return();
    }
  });

  it('reach 1,000 listeners at once, which read the database as one', async () => {
    const watched = await api.caller.submit('make');
    await makeRunning(api.store, watched);
    const log = await capture(watched);
    const streams: EventStream[] = [];
    for (let n = 0; n < 20; n += 1) {
      const path = n % 2 === 0 ? '/events' : `/jobs/${watched}/events`;
      streams.push(...(await Promise.all(Array.from({ length: 50 }, () => listen(path)))));
    }
    const ofAll = streams.filter((_, index) => Math.floor(index / 50) % 2 === 0);
    const ofOne = streams.filter((_, index) => Math.floor(index / 50) % 2 === 1);
    await eventually('all have begun', () => ofAll.every(({ lastEventId }) => lastEventId !== ''));
    await eventually('all are up to date', () => ofOne.every(({ statuses }) => statuses.includes('running')));
    // A second of nothing new, so that all catching up is over.
    const settled = { count: -1 };
    await eventually(
      'only the shared loop reads',
      () => {
        const before = settled.count;
        settled.count = readings.count;
        return before >= 0 && readings.count - before <= 2;
      },
      { everyMs: 1_000 },
    );
    const before = readings.count;
    const begun = performance.now();
    log.system('hello');
    const id = await api.caller.submit('make');
    await eventually('all heard of the job', () =>
      ofAll.every((stream) => stream.statuses.at(-1) === 'queued'),
    );
    await eventually('all got the line', () => ofOne.every((stream) => stream.lines.includes('hello')));
    const ms = performance.now() - begun;
    assert.ok(ofAll.every((stream) => stream.events.at(-1)?.data['id'] === id));
    assert.ok(
      readings.count - before < 10 + (2 * ms) / 1_000,
      `${readings.count - before} reads in ${ms} ms`,
    );
    assert.ok(ms < 5_000, `${ms} ms`);
    await log.finish();
    await endOf(watched);
    await eventually('the end of the job ends the streams of the job', () =>
      ofOne.every(({ ended }) => ended === 'cleanly'),
    );
    assert.ok(ofOne.every((stream) => stream.of('artifact').length === ARTIFACTS.length));
    for (const stream of ofAll) stream.close();
    await eventually(
      'nobody reads any more',
      () => {
        const previous = settled.count;
        settled.count = readings.count;
        return previous === readings.count;
      },
      { everyMs: 1_500 },
    );
  });

  it('do not pile up for readers that do not read, and lose nothing for them', async () => {
    const id = await api.caller.submit('make');
    await makeRunning(api.store, id);
    const text = 'x'.repeat(1_000);
    const count = 20_000;
    const lines = Array.from({ length: count }, (_, index) => entry('stdout', 'F', `${index} ${text}`));
    await writeFile(join(api.dir, `${id}.spool`), spoolOf(lines));
    await (await capture(id)).finish();
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    const stalled = await Promise.all(
      Array.from({ length: 40 }, () => listen(`/jobs/${id}/events`, { paused: true })),
    );
    const brisk = await listen('/events');
    await brisk.until('it has begun', () => brisk.lastEventId !== '');
    for (let n = 0; n < 20; n += 1) {
      const job = await api.caller.submit('make');
      await brisk.until('others are served meanwhile', () =>
        brisk.of('state').some((each) => each['id'] === job),
      );
    }
    // By now a stream that reads ahead of its socket would have read it all.
    const reader = await listen(`/jobs/${id}/events`);
    await reader.until('a listener that reads has the whole log', () => reader.lines.length === count);
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    // 40 readers × 20 MB would be 800 MB; the one that reads keeps its own.
    assert.ok(grown < 400, `grown by ${grown} MB`);
    await endOf(id);
    const [one] = stalled;
    assert.ok(one);
    one.resume();
    await one.until('it catches up', () => one.ended);
    assert.equal(one.lines.length, count);
    assert.ok(one.lines.every((line, index) => line.startsWith(`${index} `)));
    assert.equal(one.statuses.at(-1), 'completed');
  });

  describe('with an API of their own', () => {
    const withApi = async (options: ApiOptions, test: (own: RunningApi) => Promise<void>): Promise<void> => {
      const own = await startApi(options);
      try {
        await test(own);
      } finally {
        await own.stop();
      }
    };

    it('end cleanly when the server stops, also for clients that do not read', () =>
      withApi({ stopTimeoutMs: 20_000 }, async (own) => {
        const id = await own.caller.submit('make');
        await makeRunning(own.store, id);
        const spoolPath = join(own.dir, 'spool');
        const lines = Array.from({ length: 20_000 }, () => entry('stdout', 'F', 'x'.repeat(500)));
        await writeFile(spoolPath, spoolOf(lines));
        await (await new LocalLogStore(join(own.dir, 'logs')).capture({ jobId: id, spoolPath })).finish();
        const stalled = await EventStream.open(own.caller, `/jobs/${id}/events`, { paused: true });
        const all = await EventStream.open(own.caller, '/events');
        const one = await EventStream.open(own.caller, `/jobs/${id}/events`);
        await one.until('it has caught up', () => one.lines.length === 20_000);
        const begun = performance.now();
        await own.server.stop();
        assert.ok(performance.now() - begun < 3_000, `${performance.now() - begun} ms`);
        for (const stream of [all, one]) {
          await stream.until('it ends', () => stream.ended);
          assert.equal(stream.ended, 'cleanly');
        }
        stalled.close();
      }));

    it('answer 410 when events after the position were deleted with a cleaned job', () =>
      withApi({}, async (own) => {
        const [lasting, cleaned] = [await own.caller.submit('make'), await own.caller.submit('make')];
        const job = await makeCompleted(own.store, cleaned);
        await own.lifecycle.cleaning(job, 'test');
        await own.lifecycle.cleaned(cleaned, 'test');
        const told = (await own.journal.bounds()).newest;
        const all = await EventStream.open(own.caller, '/events');
        assert.equal(await own.journal.deleteExpired(Date.now(), 10), 1);
        for (const path of [
          '/events?last_event_id=1',
          `/jobs/${cleaned}/events`,
          `/jobs/${cleaned}/events?last_event_id=1`,
        ]) {
          const { status, body } = await own.caller.json('GET', path);
          assert.deepEqual([status, body['error']], [410, 'events_expired'], path);
        }
        // Those of other jobs are all there, and a listener that was up to date goes on.
        const kept = await own.journal.read({ jobId: lasting, limit: 10 });
        assert.deepEqual(
          kept.map(({ seq }) => seq),
          [1, 2],
        );
        const one = await EventStream.open(own.caller, `/jobs/${lasting}/events`);
        await one.until('it is told whole', () => one.statuses.at(-1) === 'queued');
        const on = await EventStream.open(own.caller, `/events?last_event_id=${told}`);
        const next = await own.caller.submit('make');
        for (const stream of [all, on]) {
          await stream.until('it hears of the next job', () => stream.of('state').at(-1)?.['id'] === next);
          stream.close();
        }
        one.close();
      }));

    it('answer 410 when the position is no longer kept', () =>
      withApi({}, async (own) => {
        const id = await own.caller.submit('make');
        await makeCompleted(own.store, id);
        await own.database.knex('events').where('position', '<=', 3).delete();
        for (const path of ['/events', `/jobs/${id}/events`]) {
          const { status, body } = await own.caller.json('GET', `${path}?last_event_id=2`);
          assert.deepEqual([status, body['error']], [410, 'events_expired'], path);
          const kept = await EventStream.open(own.caller, `${path}?last_event_id=3`);
          await kept.until('the rest comes', () => kept.statuses.at(-1) === 'completed');
          assert.equal(kept.events[0]?.id.split('.')[0], '4');
          kept.close();
        }
      }));
  });
});
