import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { type Answer, Caller } from '../support/http.ts';
import { makeCompleted } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';
import { tarOf } from './tar.ts';

describe('running a job again', () => {
  let api: RunningApi;

  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  const rerun = (id: string, caller = api.caller): Promise<Answer> =>
    caller.json('POST', `/jobs/${id}/rerun`);
  const uploaded = async (reusable: boolean): Promise<string> => {
    const id = String((await api.caller.json('POST', '/uploads')).body['upload_id']);
    const { status } = await api.caller.fetch(`/uploads/${id}/files`, {
      method: 'PUT',
      body: await tarOf({ name: 'a.txt', content: 'a' }),
      headers: { 'content-type': 'application/x-tar' },
    });
    assert.equal(status, 200);
    const finalized = await api.caller.json('POST', `/uploads/${id}/finalize`, { reusable });
    assert.equal(finalized.status, 200);
    return id;
  };
  /** Those of a job's fields that were asked for. */
  const asked = async (id: string): Promise<unknown> => {
    const job = await api.queries.get(id);
    assert.ok(job);
    const { type, command, image, cpus, memoryGb, timeoutMinutes, env, network, filesId } = job;
    const { priority, whenBusy, maxQueueSeconds, labels, owner, requestHash } = job;
    return {
      ...{ type, command, image, cpus, memoryGb, timeoutMinutes, env, network, filesId },
      ...{ priority, whenBusy, maxQueueSeconds, labels, owner, requestHash },
    };
  };

  it('makes another job with the same values in force, and no key', async () => {
    const id = await api.caller.submit('make', {
      cpus: 3,
      memory_gb: 2,
      timeout_minutes: 7,
      env: { A: 'b' },
      labels: { team: 'blue' },
      priority: 2,
      max_queue_seconds: 60,
      client_job_id: randomUUID(),
    });
    await makeCompleted(api.store, id);
    const { status, headers, body } = await rerun(id);
    assert.equal(status, 201);
    const again = String(body['job_id']);
    assert.notEqual(again, id);
    assert.equal(headers.get('location'), `/jobs/${again}`);
    assert.deepEqual(
      { ...body, queue_position: 0, waiting_reason: 'why' },
      {
        job_id: again,
        status: 'queued',
        created: true,
        cpus: 3,
        memory_gb: 2,
        timeout_minutes: 7,
        queue_position: 0,
        waiting_reason: 'why',
        latest_start: null,
        estimated_start: null,
      },
    );
    assert.deepEqual(await asked(again), await asked(id));
    assert.equal((await api.caller.job(again))['client_job_id'], null);
    assert.equal((await api.caller.job(id)).status, 'completed');
  });

  it('makes one each time, also of a job that still waits', async () => {
    const id = await api.caller.submit('make');
    const ids = (await Promise.all([rerun(id), rerun(id)])).map(({ body }) => body['job_id']);
    assert.equal(new Set([id, ...ids]).size, 3);
  });

  it('of an agent keeps what only agents have', async () => {
    const agent = { type: 'agent', task: 'think', context: 'hard', git_branch: 'main' };
    const { body } = await api.caller.json('POST', '/jobs', agent);
    const again = await rerun(String(body['job_id']));
    const job = await api.caller.job(String(again.body['job_id']));
    assert.deepEqual(
      [job['type'], job['task'], job['context'], job['git_branch']],
      ['agent', 'think', 'hard', 'main'],
    );
  });

  it('takes the files again, also those that were for the one job', async () => {
    for (const reusable of [false, true]) {
      const files = await uploaded(reusable);
      const id = await api.caller.submit('make', { files_id: files });
      for (const complete of [false, true]) {
        if (complete) await makeCompleted(api.store, id);
        const { status, body } = await rerun(id);
        assert.equal(status, 201);
        assert.equal((await api.caller.job(String(body['job_id'])))['files_id'], files);
      }
    }
  });

  it('refuses a job whose files are gone', async () => {
    const files = await uploaded(true);
    const id = await api.caller.submit('make', { files_id: files });
    const upload = api.database.knex('uploads').where({ id: files });
    for (const go of [() => upload.clone().update({ files_deleted_at: 1 }), () => upload.clone().delete()]) {
      await go();
      const before = (await api.journal.bounds()).newest;
      const { status, body } = await rerun(id);
      assert.deepEqual([status, body['error']], [409, 'upload_already_consumed']);
      assert.equal((await api.journal.bounds()).newest, before, 'no job was made');
    }
  });

  it('of a job that no host can run any more is refused like its creation', async () => {
    const id = await api.caller.submit('make', { cpus: 4 });
    await api.hosts.register('small', { cpusMilli: 2_000, memoryMib: 4_096 });
    try {
      const { status, body } = await rerun(id);
      assert.deepEqual([status, body['error']], [422, 'unsatisfiable_resources']);
    } finally {
      await api.hosts.register('small', { cpusMilli: 64_000, memoryMib: 262_144 });
    }
  });

  it('is for callers who may see the job: it stays its owner’s', async () => {
    const tokenOf = async (owner: string): Promise<Caller> => {
      const scopes = ['jobs:read', 'jobs:write'];
      const { body } = await api.caller.json('POST', '/tokens', { name: `rerun-${owner}`, owner, scopes });
      return new Caller(api.caller.url, String(body['token']));
    };
    const [alice, bob] = [await tokenOf('alice'), await tokenOf('bob')];
    const id = await alice.submit('make');
    assert.equal((await rerun(id, bob)).status, 404);
    const byAdmin = await rerun(id);
    assert.equal(byAdmin.status, 201);
    assert.equal((await alice.job(String(byAdmin.body['job_id']))).status, 'queued');
    assert.equal((await rerun('job_aaaaaaaaaaaa')).status, 404);
  });
});
