import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { execa } from 'execa';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { JOB, ScriptedJob } from '../cli/scripted-job.ts';
import { failure, json, type Seen, WireServer } from '../client/wire-server.ts';
import { eventually } from '../support/eventually.ts';
import { scratch } from '../support/scratch.ts';
import { type Agent, COMMAND, startAgent } from './stdio-client.ts';

const TOKEN = 'a-token-for-the-test';
const INITIALIZE =
  '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}\n';

describe('flashpods mcp', () => {
  const dir = scratch();
  let far: ScriptedJob;
  let agents: Agent[] = [];
  const wires: WireServer[] = [];

  before(() => dir.make());
  beforeEach(async () => {
    far = new ScriptedJob();
    await far.server.start();
  });
  afterEach(async () => {
    await Promise.all(agents.map((agent) => agent.close()));
    agents = [];
    await Promise.all([far.server, ...wires.splice(0)].map((server) => server.stop()));
  });

  const environment = (url?: string): Record<string, string> => ({
    HOME: dir.path(),
    FLASHPODS_RUN_PATH: dir.path('run'),
    ...(url === undefined ? {} : { FLASHPODS_URL: url, FLASHPODS_API_TOKEN: TOKEN }),
  });
  async function agentOf(url?: string): Promise<Agent> {
    const agent = await startAgent(environment(url), { roots: [dir.path()] });
    agents.push(agent);
    return agent;
  }
  async function wire(
    script: (seen: Seen, response: ServerResponse, nth: number) => void,
  ): Promise<WireServer> {
    const server = await new WireServer(script).start();
    wires.push(server);
    return server;
  }
  const cancelled = (): number => far.requests('DELETE', `/jobs/${JOB}`).length;

  it('writes nothing but messages of the protocol to stdout, and ends as soon as its client has gone', async () => {
    far.become('running');
    const child = spawn(process.execPath, [COMMAND, 'mcp'], {
      env: { PATH: process.env['PATH'], ...environment(far.server.url) },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.stdin.write(`${INITIALIZE}not json\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n`);
    child.stdin.write('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"nope"}}\n');
    child.stdin.write(
      `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"wait_for_job","arguments":{"job_id":"${JOB}"},"_meta":{"progressToken":1}}}\n`,
    );
    await eventually('progress is told', () => stdout.includes('notifications/progress'));
    const began = performance.now();
    child.stdin.end();
    assert.equal(await exited, 0);
    assert.ok(performance.now() - began < 2_000);
    for (const line of stdout.trim().split('\n')) {
      assert.equal((JSON.parse(line) as { jsonrpc: string }).jsonrpc, '2.0', line);
    }
    assert.match(stdout, /"id":2.*There is no tool nope/);
    assert.equal(stderr, '');
    assert.equal(cancelled(), 0);
  });

  it('answers a message that is larger than it takes with its id, and goes on', async () => {
    const child = spawn(process.execPath, [COMMAND, 'mcp'], {
      env: { PATH: process.env['PATH'], ...environment(far.server.url) },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    try {
      let stdout = '';
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      child.stdin.write(INITIALIZE);
      child.stdin.write(
        `{"method":"tools/list","params":{"id":3,"x":"${'x'.repeat(5_000_000)}"},"jsonrpc":"2.0","id":2}\n`,
      );
      child.stdin.write('{"jsonrpc":"2.0","id":4,"method":"tools/list"}\n');
      await eventually('both are answered', () => stdout.includes('"id":4'));
      assert.match(stdout, /"id":2,"error":\{"code":-32600,"message":"A message has at most 4 MB/);
      assert.equal(child.exitCode, null);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('starts without a server, says what to do, and finds one that is started later', async () => {
    const agent = await agentOf();
    const { tools } = await agent.client.listTools();
    assert.equal(tools.length, 11);
    const away = await agent.call('list_jobs');
    assert.equal(away.isError, true);
    assert.match(away.text, /^not_reachable: .*\nWhat to do: .*flashpods up/);
    await mkdir(dir.path('run'), { recursive: true });
    await writeFile(
      dir.path('run', 'server.json'),
      JSON.stringify({ url: far.server.url, pid: process.pid }),
    );
    const found = await agent.call('list_jobs');
    assert.equal(found.isError, false, found.text);
    assert.match(found.text, new RegExp(JOB));
  });

  it('names every wrong argument', async () => {
    const { isError, text } = await (
      await agentOf(far.server.url)
    ).call('get_job_output', { id: 'x', from_line: 0 });
    assert.equal(isError, true);
    assert.match(text, /^invalid_request: (?=.*`job_id`)(?=.*`from_line`).*no argument "id"/);
  });

  it('takes text for numbers, booleans and objects, null for absent, and says what it ignored', async () => {
    far.end('completed', 0);
    await mkdir(dir.path('empty'), { recursive: true });
    const agent = await agentOf(far.server.url);
    const { isError, text, structured } = await agent.call('run_command', {
      command: 'x',
      cpus: '1',
      memory_gb: 2.5,
      merge: 'False',
      env: '{"PORT": 8080, "CI": true, "GONE": null}',
      packages: 'tree',
      image: null,
      waitSeconds: '9999',
      cwd: '/src',
    });
    assert.equal(isError, false, text);
    const [posted] = far.requests('POST', '/jobs');
    const { client_job_id: _id, ...sent } = JSON.parse(posted?.body ?? '') as Record<string, unknown>;
    assert.deepEqual(sent, {
      type: 'worker',
      command: 'x',
      cpus: 1,
      memory_gb: 3,
      merge: false,
      writable: true,
      env: { PORT: '8080', CI: 'true' },
      packages: ['tree'],
    });
    const notes = [
      'memory_gb 2.5 is not whole: 3 was taken.',
      'waitSeconds 9999 was lowered to 3600.',
      'There is no argument "cwd": it was ignored.',
    ];
    assert.deepEqual(structured['notes'], notes);
    for (const note of notes) assert.ok(text.includes(`Note: ${note}`), text);
  });

  it('lists its tools in 18 kB, by schemas that every client takes', async () => {
    const { tools } = await (await agentOf(far.server.url)).client.listTools();
    const bytes = Buffer.byteLength(JSON.stringify({ tools }));
    assert.ok(bytes <= 18_000, `${bytes} bytes`);
    const schemas = JSON.stringify(tools.map(({ inputSchema, outputSchema }) => [inputSchema, outputSchema]));
    assert.doesNotMatch(schemas, /"(?:\$schema|propertyNames|pattern|format|anyOf|oneOf|\$ref)":|\d{7}/);
  });

  it('ends the job when the client says that its person took the call back', async () => {
    far.become('running');
    const cancel = new AbortController();
    const agent = await agentOf(far.server.url);
    const call = agent.call('run_command', { command: 'x' }, { signal: cancel.signal });
    await eventually('the job is waited for', () => far.requests('GET', `/jobs/${JOB}`).length > 1);
    cancel.abort('User pressed Escape');
    await assert.rejects(call);
    await eventually('the job is cancelled', () => cancelled() === 1);
  });

  it('leaves the job alone when the client only lost patience or says nothing, and when a wait is cancelled', async () => {
    far.become('running');
    const agent = await agentOf(far.server.url);
    await assert.rejects(agent.call('run_command', { command: 'x' }, { timeout: 300 }), /timed out/);
    for (const reason of [
      undefined,
      'deadline exceeded',
      'AbortError: This operation was aborted',
      'took too long',
      'the user did not want to wait longer than 60 s',
      'cancelled: budget of the user is over',
    ]) {
      const controller = new AbortController();
      const asked = far.requests('GET', `/jobs/${JOB}`).length;
      const call = agent.call('run_command', { command: 'x' }, { signal: controller.signal });
      await eventually('the job is waited for', () => far.requests('GET', `/jobs/${JOB}`).length > asked);
      controller.abort(reason);
      await assert.rejects(call);
    }
    const cancel = new AbortController();
    const call = agent.call('wait_for_job', { job_id: JOB }, { signal: cancel.signal });
    const before = far.requests('GET', `/jobs/${JOB}`).length;
    await eventually('the job is waited for', () => far.requests('GET', `/jobs/${JOB}`).length > before);
    cancel.abort('no longer of interest');
    await assert.rejects(call);
    far.end('completed', 0);
    const { structured } = await agent.call('wait_for_job', { job_id: JOB });
    assert.equal(structured['status'], 'completed');
    assert.equal(cancelled(), 0);
  });

  it('answers before the time is over and says which call goes on', async () => {
    far.become('running');
    const agent = await agentOf(far.server.url);
    // A long poll of this server is answered when something changes, and only then.
    const changes = setInterval(() => far.become('running'), 100);
    const { structured, text } = await agent.call('run_command', { command: 'x', wait_seconds: 1 });
    clearInterval(changes);
    assert.equal(structured['ended'], false);
    assert.equal(structured['poll_timeout'], true);
    assert.match(text, new RegExp(`Call wait_for_job \\{"job_id":"${JOB}"\\} again`));
  });

  it('makes one job of a creation that is refused, dropped and sent again', async () => {
    let posts = 0;
    const server = await wire((seen, response) => {
      if (seen.method === 'POST') posts += 1;
      if (seen.method === 'POST' && posts === 1)
        json(response, 503, failure('service_unavailable'), { 'retry-after': '0' });
      else if (seen.method === 'POST' && posts === 2) response.destroy();
      else if (seen.method === 'POST') json(response, 201, { job_id: JOB, status: 'queued', created: true });
      else json(response, 200, far.job);
    });
    const { structured } = await (await agentOf(server.url)).call('spawn_worker', { command: 'x' });
    assert.equal(structured['job_id'], JOB);
    const ids = server.seen
      .filter(({ method }) => method === 'POST')
      .map(({ body }) => (JSON.parse(body) as { client_job_id: string }).client_job_id);
    assert.equal(ids.length, 3);
    assert.equal(new Set(ids).size, 1);
  });

  it('sends files on when the call has to be answered first, and makes one job of both calls', async () => {
    await mkdir(dir.path('project'), { recursive: true });
    await writeFile(dir.path('project', 'file'), 'content');
    const arrived = Promise.withResolvers<ServerResponse>();
    const upload = { upload_id: 'upload_aaaaaaaaaaaa', state: 'uploading', rsync_url: null };
    const server = await wire(({ method, path }, response) => {
      if (method === 'PUT') arrived.resolve(response);
      else if (path.endsWith('/finalize'))
        json(response, 200, { ...upload, state: 'finalized', file_count: 1 });
      else if (path === '/uploads') json(response, 201, upload);
      else if (path === '/job-checks') json(response, 200, { type: 'worker' });
      else if (method === 'POST') json(response, 201, { job_id: JOB, status: 'queued', created: true });
      else if (path.includes('/output')) json(response, 404, failure('logs_not_available'));
      else if (path.endsWith('/artifacts')) json(response, 404, failure('artifacts_not_available'));
      else json(response, 200, { ...far.job, status: 'completed', exit_code: 0 });
    });
    const agent = await agentOf(server.url);
    const args = { command: 'x', files: { local_path: dir.path('project') } };
    const first = await agent.call('run_command', { ...args, wait_seconds: 1 });
    assert.equal(first.structured['status'], 'uploading');
    assert.equal(first.structured['job_id'], undefined);
    const id = String(first.structured['client_job_id']);
    assert.match(
      first.text,
      new RegExp(`Call run_command again with the same arguments and "client_job_id":"${id}"`),
    );
    (await arrived.promise)
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify(upload));
    const second = await agent.call('run_command', { ...args, client_job_id: id });
    assert.equal(second.structured['job_id'], JOB, second.text);
    assert.equal(second.structured['created'], true);
    const third = await agent.call('run_command', { ...args, client_job_id: id });
    assert.equal(third.structured['created'], false);
    const other = await agent.call('run_command', { ...args, command: 'y', client_job_id: id });
    assert.match(other.text, /^idempotency_key_reused: /);
    assert.match(other.text, new RegExp(`Details: \\{"job_id":"${JOB}"\\}`));
    assert.equal(server.seen.filter(({ path }) => path === '/jobs').length, 1);
    assert.equal(server.seen.filter(({ method }) => method === 'PUT').length, 1);
  });

  it('says that the job goes on when the server fails after its creation', async () => {
    const server = await wire(({ method }, response) => {
      if (method === 'POST') json(response, 201, { job_id: JOB, status: 'queued', created: true });
      else json(response, 401, failure('invalid_token'));
    });
    const { isError, text } = await (await agentOf(server.url)).call('run_command', { command: 'x' });
    assert.equal(isError, true);
    assert.match(text, new RegExp(`^invalid_token: .*The job ${JOB} was created all the same and goes on`));
  });

  it('says at the start which images there are, and offers sub-agents only where there is an image for them', async () => {
    far.images = ['base', 'node'];
    const names = async ({ client }: Agent): Promise<string[]> =>
      (await client.listTools()).tools.map(({ name }) => name);
    const agent = await agentOf(far.server.url);
    const said = agent.client.getInstructions() ?? '';
    assert.match(said, /Without `image` a command runs in base: what is in base \(gcc 12\.2\.0\)\./);
    assert.match(said, /Other images.*: node: what is in node/);
    assert.match(said, /Not on this farm yet: go \(.*`flashpods image build NAME`\)/);
    assert.ok((await names(agent)).includes('spawn_sub_agent'));
    far.agentImage = null;
    assert.ok(!(await names(await agentOf(far.server.url))).includes('spawn_sub_agent'));
    const listed = await agent.call('list_images');
    assert.match(
      listed.text,
      /^base: what is in base \(gcc 12\.2\.0\) \[1\.0 MB\]\nnode: .*\nNext: .*Not here, .*go\.$/,
    );
  });

  it('starts without a server, and lists its tools', async () => {
    const agent = await agentOf('http://127.0.0.1:1');
    assert.match(agent.client.getInstructions() ?? '', /list_images says which images there are/);
    const { tools } = await agent.client.listTools();
    assert.ok(tools.some(({ name }) => name === 'run_command'));
  });

  it('says which images have the program that a job did not find', async () => {
    far.images = ['node'];
    far.print('/bin/sh: 1: npm: not found', 'stderr');
    far.end('failed', 127, { image: 'localhost/flashpods/base:latest' });
    const agent = await agentOf(far.server.url);
    const { structured } = await agent.call('run_command', { command: 'npm test' });
    assert.match(String(structured['next']), /^The image base has no `npm`\. This image has it: node\./);
  });

  it('refuses a directory without a repository for a sub-agent, before anything is read or sent', async () => {
    await mkdir(dir.path('plain'), { recursive: true });
    const agent = await agentOf(far.server.url);
    const args = { task: 't', git_branch: 'main', files: { local_path: dir.path('plain') } };
    const plain = await agent.call('spawn_sub_agent', args);
    assert.match(plain.text, /^invalid_arguments: .*holds no \.git.*\nWhat to do: .*git_url/);
    for (const path of ['/jobs', '/uploads']) assert.equal(far.requests('POST', path).length, 0);
    const absent = await agent.call('spawn_sub_agent', {
      ...args,
      files: { local_path: dir.path('plain', 'absent') },
    });
    assert.match(absent.text, /^invalid_arguments: .*can't be read.*\nWhat to do: Correct the argument/);
    await execa('git', ['init', '--quiet', dir.path('plain')]);
    const repository = await agent.call('spawn_sub_agent', args);
    assert.equal(repository.structured['job_id'], JOB, repository.text);
  });

  it('never names the call again that was just made, but what shows the rest', async () => {
    for (let n = 1; n <= 30_000; n += 1) far.print(String(n));
    far.end('completed', 0);
    const agent = await agentOf(far.server.url);
    const seen: string[] = [];
    let next: object | null = { job_id: JOB, from_line: 1, max_bytes: 30_000 };
    while (next !== null) {
      const { structured, text } = await agent.call('get_job_output', next);
      assert.ok(Buffer.byteLength(JSON.stringify({ structured, text })) <= 80_000);
      seen.push(...String(structured['output']).split('\n'));
      const call = /^get_job_output (\{.*\}) goes on\.$/.exec(String(structured['next']))?.[1];
      next = call === undefined ? null : (JSON.parse(call) as object);
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 30_000 }, (_, n) => String(n + 1)),
    );
    const last = await agent.call('get_job_output', { job_id: JOB, tail: 5 });
    assert.equal(last.structured['output'], '29996\n29997\n29998\n29999\n30000');
    assert.match(
      String(last.structured['next']),
      /"from_line":29896,"head":100\} shows the lines before these/,
    );
    const both = await agent.call('get_job_output', { job_id: JOB, tail: 5, from_line: 3 });
    assert.match(both.text, /^invalid_request: `tail` does not go together/);
  });

  it('says of a list that it can’t lengthen that there are older ones', async () => {
    const jobs = Array.from({ length: 100 }, (_, n) => ({ ...far.job, id: `job_${n}` }));
    const server = await wire((_seen, response) =>
      json(response, 200, { jobs, total: 130, next_cursor: 'x' }),
    );
    const agent = await agentOf(server.url);
    const { structured } = await agent.call('list_jobs', { limit: 100 });
    assert.match(String(structured['next']), /^30 older ones are not listed here/);
    const fewer = await agent.call('list_jobs', { limit: 20 });
    assert.match(String(fewer.structured['next']), /^110 more\. list_jobs .*"limit":100\} shows up to 100/);
  });

  it('runs several commands in turn or side by side, and shows what of the log it is asked for', async () => {
    for (let n = 1; n <= 30; n += 1) far.print(String(n));
    far.artifacts = { 'a/b.txt': 'left' };
    far.end('completed', 0);
    const agent = await agentOf(far.server.url);
    const commands = ["cd /tmp; echo 'one'", 'pwd', 'false', 'echo never'];
    const saveTo = dir.path('results');
    const turn = await agent.call('run_command', { commands, head: 2, download_to: saveTo });
    assert.equal(turn.structured['output'], '1\n2', turn.text);
    assert.match(turn.text, /2 lines from line 1 on of .* of log:/);
    assert.match(String(turn.structured['next']), /get_job_output \{"job_id":"\w+","from_line":3,/);
    assert.equal(turn.structured['downloaded_to'], saveTo);
    assert.equal(await readFile(dir.path('results', 'a', 'b.txt'), 'utf8'), 'left');
    const sent = (): string[] =>
      far
        .requests('POST', '/jobs')
        .flatMap(({ body }) => (JSON.parse(body) as { command?: string }).command ?? []);
    const inTurn = await execa('bash', ['-o', 'pipefail', '-c', sent()[0] ?? ''], { reject: false });
    assert.equal(inTurn.stdout, "$ cd /tmp; echo 'one'\none\n$ pwd\n/tmp\n$ false");
    assert.equal(inTurn.exitCode, 1);

    const both = await agent.call('run_command', { commands: ['x', 'y'], side_by_side: true });
    assert.deepEqual(sent().slice(1), ['x', 'y']);
    assert.match(
      both.text,
      /^2 of 2 ended, 0 of them badly\njob_\w+ · completed · exit 0 · 1\.5 s · x\n.* · y\n/,
    );
    assert.deepEqual(
      (both.structured['jobs'] as { command: string; exit_code: number }[]).map(({ command }) => command),
      ['x', 'y'],
    );
    for (const wrong of [
      {},
      { commands: ['x', 'y'], side_by_side: true, tail: 3 },
      { command: 'x', tail: 1, head: 1 },
    ])
      assert.equal((await agent.call('run_command', wrong)).isError, true, JSON.stringify(wrong));
  });

  it('waits for several jobs at once, for all of them or for the first end', async () => {
    far.become('running');
    const agent = await agentOf(far.server.url);
    const changes = setInterval(() => far.become('running'), 100);
    const open = await agent.call('wait_for_job', { job_ids: [JOB, JOB], timeout_seconds: 1 });
    clearInterval(changes);
    assert.deepEqual([open.structured['ended'], open.structured['poll_timeout']], [false, true]);
    assert.match(open.text, new RegExp(`Next: wait_for_job \\{"job_ids":\\["${JOB}"\\]\\} waits`));
    far.print('x.c:1:1: error: no', 'stderr');
    far.end('failed', 2, { error_lines: ['1: x.c:1:1: error: no'] });
    const ended = await agent.call('wait_for_job', { job_ids: [JOB], until: 'first' });
    assert.deepEqual([ended.structured['ended'], ended.structured['status']], [true, 'failed']);
    assert.match(ended.text, /^1 of 1 ended, 1 of them badly\n/);
    assert.match(ended.text, /<<<[^]*x\.c:1:1: error: no/);
    assert.equal((await agent.call('wait_for_job', {})).isError, true);
  });

  it('sends the project that is open where no path is given', async () => {
    await mkdir(dir.path('open'), { recursive: true });
    await writeFile(dir.path('open', 'file'), 'content');
    const agent = await startAgent(environment(far.server.url), { roots: [dir.path('open')] });
    agents.push(agent);
    const sent = await agent.call('spawn_worker', { command: 'x', files: {} });
    assert.equal(sent.isError, false, sent.text);
    const [posted] = far.requests('POST', '/jobs');
    assert.match(posted?.body ?? '', /"files_id":"upload_/);
    assert.equal(far.requests('PUT', '/uploads').length, 1);
    const closed = await startAgent(environment(far.server.url), { cwd: '/' });
    agents.push(closed);
    const refused = await closed.call('spawn_worker', { command: 'x', files: {} });
    assert.match(refused.text, /^path_not_allowed: .*names no roots/);
  });

  it('takes absolute paths only, for it does not know where the agent stands', async () => {
    const agent = await agentOf(far.server.url);
    const { text } = await agent.call('spawn_worker', { command: 'x', files: { local_path: 'project' } });
    assert.match(text, /^invalid_arguments: .*not an absolute path.\nWhat to do: Give the whole path/);
  });
});
