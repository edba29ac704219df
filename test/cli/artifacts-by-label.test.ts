import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import type { CallContext } from '../../src/mcp/definition.ts';
import { artifactTools } from '../../src/mcp/tools/artifacts.ts';
import type { Shop } from '../../src/mcp/making.ts';
import { makeCompleted } from '../api/job-states.ts';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { connectionTo } from '../client/wire-server.ts';
import { scratch } from '../support/scratch.ts';
import { finished } from './console.ts';

describe('flashpods artifacts --label', () => {
  const directory = scratch();
  let api: RunningApi;
  before(async () => {
    await directory.make();
    api = await startApi();
  });
  after(() => api.stop());

  const flashpods = (...args: string[]) =>
    finished(args, { env: { FLASHPODS_URL: api.server.url, FLASHPODS_API_TOKEN: api.token } });
  /** A job that has ended and left a file. */
  const leave = async (text: string): Promise<string> => {
    const id = await api.caller.submit('true', { labels: { run: '42' }, keep_hours: 168 });
    const file = join(api.dir, 'artifacts', id, 'out/file');
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    const sha256 = createHash('sha256').update(text).digest('hex');
    const record = { name: 'out/file', sizeBytes: text.length, sha256, createdAt: Date.now() };
    await makeCompleted(api.store, id, [record]);
    return id;
  };

  it('finds the newest job whose artifacts are there, says which it is, and fetches all or some', async () => {
    const none = await flashpods('artifacts', 'get', '--label', 'run=42');
    assert.equal(none.exitCode, 4);
    assert.match(none.stderr, /No job has the label "run=42"[^]*--keep 7d/);
    await api.caller.submit('true', { labels: { run: '42' } });
    assert.match((await flashpods('artifacts', '--label', 'run=42')).stderr, /has ended yet/);

    await leave('oldest');
    const older = await leave('older');
    const newest = await leave('newest');
    const at = directory.path('all');
    const all = await flashpods('artifacts', 'get', '--label', 'run=42', '-o', at);
    assert.deepEqual([all.exitCode, all.stdout], [0, `${join(at, 'out/file')}\n`]);
    assert.match(all.stderr, new RegExp(`${newest} is the newest job .*"run=42".*; 3 more have it`));
    assert.equal(await readFile(join(at, 'out/file'), 'utf8'), 'newest');

    await api.store.patch(newest, 1, { artifactsDeletedAt: Date.now() });
    const one = directory.path('one');
    const some = await flashpods('artifacts', 'get', '-l', 'run:42', 'out/file', '-o', one);
    assert.equal(some.exitCode, 0, some.stderr);
    assert.equal(await readFile(one, 'utf8'), 'older');
    assert.match(some.stderr, new RegExp(older));
    assert.match((await flashpods('artifacts', '--label', 'run=42')).stdout, /^out\/file /m);
    assert.equal((await flashpods('artifacts', '--label', 'run=43')).exitCode, 4);
    assert.equal((await flashpods('artifacts', 'get')).exitCode, 2);
  });

  it('takes the same job by the MCP tools, which want an id or a label', async () => {
    const id = await leave('for an agent');
    const connection = { ...connectionTo(api.server.url), token: api.token };
    const client = new FlashpodsClient(connection);
    const tools = artifactTools({ backend: client, files: null } as unknown as Shop);
    const call = async (name: string, args: object): Promise<unknown> => {
      const wanted = tools.find((tool) => tool.name === name);
      const context = { signal: AbortSignal.timeout(60_000) } as CallContext;
      return (await wanted?.call(args as never, context))?.structuredContent;
    };
    const label = 'run=42';
    const list = (await call('get_job_artifacts', { label })) as { job_id: string; total: number };
    assert.deepEqual([list.job_id, list.total], [id, 1]);
    const one = (await call('download_artifact', { label, artifact_name: 'out/file' })) as { text: string };
    assert.match(one.text, /for an agent/);
    for (const args of [{}, { label, job_id: id }, { label: 'run42' }])
      await assert.rejects(call('get_job_artifacts', args), { code: 'invalid_arguments' });
    client.close();
  });
});
