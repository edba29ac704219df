import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import type { JobAnswer } from '../support/http.ts';
import { countIn, into } from '../support/jobs.ts';
import { makeCompleted, makeRunning } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

interface JobList {
  jobs: JobAnswer[];
  total: number;
  next_cursor: string | null;
}

describe('the jobs of the API', () => {
  let api: RunningApi;

  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  describe('creating', () => {
    it('answers 201 with the values in force', async () => {
      const { status, headers, body } = await api.caller.json('POST', '/jobs', {
        type: 'worker',
        command: 'make',
        cpus: 99,
      });
      assert.equal(status, 201);
      assert.match(String(body['job_id']), /^job_[a-z0-9]{12}$/);
      assert.equal(headers.get('location'), `/jobs/${String(body['job_id'])}`);
      assert.equal(body['status'], 'queued');
      assert.equal(body['created'], true);
      assert.deepEqual([body['cpus'], body['memory_gb'], body['timeout_minutes']], [8, 4, 30]);
      assert.ok(Number(body['queue_position']) >= 1);
    });

    it('makes one job of 20 identical requests at the same moment', async () => {
      const request = { type: 'worker', command: 'true', client_job_id: randomUUID() };
      const before = await countIn(api.queries, 'queued');
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => api.caller.json('POST', '/jobs', request)),
      );
      assert.deepEqual(answers.map(({ status }) => status).sort(), [...Array<number>(19).fill(200), 201]);
      assert.equal(new Set(answers.map(({ body }) => body['job_id'])).size, 1);
      assert.equal(answers.filter(({ body }) => body['created']).length, 1);
      assert.equal(await countIn(api.queries, 'queued'), before + 1);
    });

    it('tells a reused key from a repeated request, regardless of its case', async () => {
      const key = randomUUID();
      const first = await api.caller.json('POST', '/jobs', {
        type: 'worker',
        command: 'a',
        client_job_id: key,
      });
      const again = await api.caller.json('POST', '/jobs', {
        client_job_id: key.toUpperCase(),
        command: 'a',
        type: 'worker',
        cpus: 2,
      });
      assert.equal(again.status, 200);
      assert.equal(again.body['job_id'], first.body['job_id']);
      assert.deepEqual(
        [first.body['message'], again.body['message']],
        [undefined, 'Existing job returned (idempotent)'],
      );
      const other = await api.caller.json('POST', '/jobs', {
        type: 'worker',
        command: 'b',
        client_job_id: key,
      });
      assert.equal(other.status, 409);
      assert.equal(other.body['error'], 'idempotency_key_reused');
    });

    it('refuses what no host could ever run', async () => {
      await api.hosts.register('small', { cpusMilli: 2_000, memoryMib: 4_096 });
      try {
        const { status, body } = await api.caller.json('POST', '/jobs', {
          type: 'worker',
          command: 'x',
          cpus: 3,
        });
        assert.equal(status, 422);
        assert.equal(body['error'], 'unsatisfiable_resources');
      } finally {
        await api.hosts.register('small', { cpusMilli: 64_000, memoryMib: 262_144 });
      }
    });

    it('says at the top of the answer what is missing when there is no room', async () => {
      const { status, body } = await api.caller.json('POST', '/jobs', {
        type: 'worker',
        command: 'x',
        when_busy: 'reject',
      });
      assert.equal(status, 429);
      assert.equal(body['error'], 'insufficient_resources');
      assert.deepEqual(body['requested'], { cpus: 2, memory_gb: 4 });
      assert.deepEqual(body['available'], { cpus: 0, memory_gb: 0 });
      assert.equal(body['running_jobs'], 0);
    });
  });

  describe('showing', () => {
    it('shows times in ISO 8601 and no environment', async () => {
      const id = await api.caller.submit('make', {
        env: { SECRET_ENOUGH: 'hidden-value' },
        labels: { team: 'blue' },
      });
      const job = await api.caller.job(id);
      assert.equal(job['id'], id);
      assert.equal(job['command'], 'make');
      assert.deepEqual(job['labels'], { team: 'blue' });
      assert.match(String(job['created_at']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.equal(job['started_at'], null);
      assert.equal(job['elapsed_seconds'], null);
      assert.equal(job['cancel_requested'], false);
      assert.ok(!JSON.stringify(job).includes('hidden-value'));
    });

    it('shows elapsed seconds while it runs and its duration when it has ended', async () => {
      const id = await api.caller.submit('true');
      await makeRunning(api.store, id);
      const running = await api.caller.job(id);
      assert.equal(running.status, 'running');
      assert.equal(typeof running['elapsed_seconds'], 'number');
      assert.ok(!('duration_seconds' in running));
      assert.equal(running['queue_position'], null);

      const other = await api.caller.submit('true');
      await makeCompleted(api.store, other);
      const ended = await api.caller.job(other);
      assert.equal(typeof ended['duration_seconds'], 'number');
      assert.ok(!('elapsed_seconds' in ended));
      assert.equal(ended.exit_code, 0);
      assert.equal(ended['ending_reason'], 'exit');
    });

    it('answers 404 for an unknown id, and for what is no id at all', async () => {
      for (const id of ['job_aaaaaaaaaaaa', 'nonsense', '%00', '..%2f..%2fetc', 'job_' + 'x'.repeat(300)]) {
        const { status, body } = await api.caller.json('GET', `/jobs/${id}`);
        assert.equal(status, 404, id);
        assert.equal(body['error'], 'job_not_found', id);
      }
    });

    it('answers HEAD like GET, without a body', async () => {
      const id = await api.caller.submit('true');
      const answer = await api.caller.fetch(`/jobs/${id}`, { method: 'HEAD' });
      assert.equal(answer.status, 200);
      assert.ok(Number(answer.headers.get('content-length')) > 100);
      assert.equal(await answer.text(), '');
    });
  });

  describe('waiting for a change', () => {
    it('answers when the state changes, long before the time is over', async () => {
      const id = await api.caller.submit('true');
      await makeRunning(api.store, id);
      const begun = performance.now();
      const waiting = api.caller.json<JobAnswer>('GET', `/jobs/${id}?wait=60`);
      await api.store.decideEnding(id, 'exit', 'test');
      await api.store.transition(id, {
        from: ['running'],
        ...into('failed'),
        patch: { exitCode: 3 },
        actor: 'test',
      });
      api.queues.announcements.announce(id, null);
      assert.equal((await waiting).body.status, 'failed');
      assert.ok(performance.now() - begun < 5_000);
    });

    it('answers with the unchanged job when the time is over', async () => {
      const id = await api.caller.submit('true');
      const begun = performance.now();
      const { status, body } = await api.caller.json('GET', `/jobs/${id}?wait=1`);
      assert.equal(status, 200);
      assert.equal(body['status'], 'queued');
      assert.ok(performance.now() - begun >= 990);
    });

    it('refuses a time that is no number from 1 to 60', async () => {
      const id = await api.caller.submit('true');
      for (const wait of ['0', '61', '-1', 'x', '1.5', '']) {
        const { status, body } = await api.caller.json<{ details: { field: string } }>(
          'GET',
          `/jobs/${id}?wait=${wait}`,
        );
        assert.equal(status, 400, wait);
        assert.equal(body.details.field, 'wait');
      }
    });
  });

  describe('listing', () => {
    it('pages from the newest to the oldest without repetition while jobs are added', async () => {
      const ids: string[] = [];
      for (let n = 0; n < 7; n += 1) ids.unshift(await api.caller.submit('true', { labels: { page: 'me' } }));
      const seen: string[] = [];
      let cursor = '';
      do {
        const { body } = await api.caller.json<JobList>('GET', `/jobs?label=page:me&limit=3${cursor}`);
        seen.push(...body.jobs.map(({ id }) => id));
        assert.ok(body.total >= 7);
        cursor = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`;
        await api.caller.submit('true', { labels: { page: 'me' } });
      } while (cursor !== '');
      assert.deepEqual(seen, ids);
    });

    it('filters by state, by the group of active ones, and by type', async () => {
      const id = await api.caller.submit('true', { labels: { f: '1' } });
      await makeCompleted(api.store, id);
      const other = await api.caller.submit('true', { labels: { f: '1' } });
      const ids = async (query: string): Promise<string[]> =>
        (await api.caller.json<JobList>('GET', `/jobs?label=f:1&${query}`)).body.jobs.map((job) => job.id);
      assert.deepEqual(await ids('status=completed'), [id]);
      assert.deepEqual(await ids('status=active'), [other]);
      assert.deepEqual(await ids('status=all'), [other, id]);
      assert.deepEqual(await ids('type=agent'), []);
    });

    it('takes a label whose value holds a colon', async () => {
      const id = await api.caller.submit('true', { labels: { url: 'http://x' } });
      const { body } = await api.caller.json<JobList>(
        'GET',
        `/jobs?label=${encodeURIComponent('url:http://x')}`,
      );
      assert.deepEqual(
        body.jobs.map((job) => job.id),
        [id],
      );
    });

    it('names the parameter that is wrong', async () => {
      const wrong: [query: string, field: string][] = [
        ['status=sleeping', 'status'],
        ['limit=0', 'limit'],
        ['limit=101', 'limit'],
        ['limit=1e1', 'limit'],
        ['label=nocolon', 'label'],
        ['cursor=%00', 'cursor'],
        ['cursor=zzzz', 'cursor'],
        ['status=all&status=all', 'status'],
        ['stauts=all', 'stauts'],
        ['type=robot', 'type'],
      ];
      for (const [query, field] of wrong) {
        const { status, body } = await api.caller.json<{ error: string; details: { field: string } }>(
          'GET',
          `/jobs?${query}`,
        );
        assert.equal(status, 400, query);
        assert.equal(body.error, 'invalid_request');
        assert.equal(body.details.field, field, query);
      }
    });
  });

  describe('cancelling', () => {
    it('cancels a queued job at once, and says so once', async () => {
      const id = await api.caller.submit('true');
      const first = await api.caller.json('DELETE', `/jobs/${id}`);
      assert.equal(first.status, 200);
      assert.deepEqual(first.body, { job_id: id, status: 'cancelled', message: 'Job termination initiated' });
      const job = await api.caller.job(id);
      assert.equal(job.status, 'cancelled');
      assert.deepEqual([job['epoch'], job['container']], [0, null]);
      const { cpu_seconds: seconds, unknown } = job['usage'] as unknown as {
        cpu_seconds: unknown;
        unknown: Record<string, string>;
      };
      assert.deepEqual([seconds, unknown['cpu_seconds']], [null, 'the job never ran']);
      const second = await api.caller.json('DELETE', `/jobs/${id}`);
      assert.equal(second.status, 409);
      assert.equal(second.body['error'], 'job_already_terminal');
    });

    it('writes the wish down for a job that runs', async () => {
      const id = await api.caller.submit('true');
      await makeRunning(api.store, id);
      const { status, body } = await api.caller.json('DELETE', `/jobs/${id}`);
      assert.equal(status, 200);
      assert.equal(body['status'], 'cancelled');
      const job = await api.caller.job(id);
      assert.equal(job.status, 'running');
      assert.deepEqual([job['epoch'], job['container'], job['usage']], [1, `flashpods-${id}-1`, null]);
      assert.equal(job['cancel_requested'], true);
      assert.equal(job['ending_reason'], 'cancel');
    });

    it('cancels every active job with a label, more than a page of them', async () => {
      const labels = { labels: { batch: 'x' } };
      const ids = await Promise.all(Array.from({ length: 130 }, () => api.caller.submit('true', labels)));
      const spared = await api.caller.submit('true', { labels: { batch: 'y' } });
      const { status, body } = await api.caller.json<{ cancelled: string[] }>(
        'DELETE',
        '/jobs?label=batch:x',
      );
      assert.equal(status, 200);
      assert.deepEqual(body.cancelled.sort(), ids.sort());
      assert.equal((await api.caller.job(spared)).status, 'queued');
      const none = await api.caller.json<{ cancelled: string[] }>('DELETE', '/jobs?label=batch:x');
      assert.deepEqual(none.body.cancelled, []);
    });

    it('does not cancel everything when the label is missing', async () => {
      const { status, body } = await api.caller.json<{ details: { field: string } }>('DELETE', '/jobs');
      assert.equal(status, 400);
      assert.equal(body.details.field, 'label');
    });
  });

  it('shows hosts and queue', async () => {
    await api.caller.submit('true');
    const { status, body } = await api.caller.json<{ hosts: unknown[]; queue: { length: number } }>(
      'GET',
      '/capacity',
    );
    assert.equal(status, 200);
    assert.ok(Array.isArray(body.hosts));
    assert.ok(body.queue.length > 0);
  });
});
