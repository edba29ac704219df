import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema, type Progress } from '@modelcontextprotocol/sdk/types.js';
import { after, before, describe, it } from 'mocha';
import { scratch } from '../support/scratch.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { type Agent, COMMAND, startAgent } from './stdio-client.ts';

const INSPECTOR = new URL(
  '../../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js',
  import.meta.url,
).pathname;
const SMALL = { cpus: 1, memory_gb: 1, network: 'none' };

type Structured = Readonly<Record<string, unknown>>;

describe('MCP tools on a whole Flashpods', () => {
  const dir = scratch();
  let stack: Stack;
  let agent: Agent;

  before(async () => {
    await dir.make();
    stack = await startStack({
      workers: [{ name: 'one', cpus: 2, memoryGb: 2 }],
      env: { FLASHPODS_AGENT_IMAGE: 'localhost/team/agent:1' },
    });
    agent = await startAgent(environment(), { roots: [dir.path()] });
    await mkdir(dir.path('project'));
    await writeFile(dir.path('project', 'greeting'), 'hello');
    const git = (...args: string[]) => promisify(execFile)('git', args, { cwd: dir.path('project') });
    await git('init', '--quiet', '--initial-branch=main');
    await git('add', '.');
    await git('-c', 'user.name=t', '-c', 'user.email=t@example.org', 'commit', '--quiet', '-m', 'first');
  });
  after(async () => {
    await agent.close();
    await stack.stop();
  });

  const environment = (): Record<string, string> => ({
    HOME: dir.path(),
    FLASHPODS_URL: stack.caller.url,
    FLASHPODS_API_TOKEN: stack.caller.token,
  });

  /** One call of the Inspector: a client and a connection of its own each time. @returns what it printed as JSON */
  async function inspect(
    over: 'stdio' | 'http',
    method: string,
    args: readonly string[] = [],
  ): Promise<Structured> {
    const server =
      over === 'stdio'
        ? [
            ...Object.entries(environment()).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
            '--',
            process.execPath,
            COMMAND,
            'mcp',
            '--root',
            dir.path(),
          ]
        : [
            '--server-url',
            `${stack.caller.url}/mcp`,
            '--transport',
            'http',
            '--header',
            `Authorization: Bearer ${stack.caller.token}`,
          ];
    const command = [
      INSPECTOR,
      '--cli',
      '--format',
      'json',
      '--quiet',
      '--connect-timeout',
      '0',
      '--method',
      method,
      ...args,
      ...server,
    ];
    const { stdout } = await promisify(execFile)(process.execPath, command, {
      env: { PATH: process.env['PATH'], HOME: dir.path() },
      maxBuffer: 16 * 1024 * 1024,
    });
    return (JSON.parse(stdout) as { result: Structured }).result;
  }
  async function use(over: 'stdio' | 'http', name: string, args: object): Promise<Structured> {
    const result = await inspect(over, 'tools/call', [
      '--tool-name',
      name,
      '--tool-args-json',
      JSON.stringify(args),
    ]);
    assert.notEqual(result['isError'], true, JSON.stringify(result));
    return result['structuredContent'] as Structured;
  }

  it('are driven one and all by the official Inspector over stdio', async () => {
    const { tools } = (await inspect('stdio', 'tools/list', ['--strict'])) as { tools: { name: string }[] };
    const used = new Set<string>();
    const call = (name: string, args: object): Promise<Structured> => {
      used.add(name);
      return use('stdio', name, args);
    };
    const ran = await call('run_command', {
      ...SMALL,
      command: 'cat greeting; mkdir /artifacts/d; cp greeting "/artifacts/d/a greeting"; echo; exit 0',
      files: { local_path: dir.path('project') },
    });
    assert.deepEqual(
      [ran['status'], ran['exit_code'], ran['output'], ran['artifacts']],
      ['completed', 0, 'hello', [{ name: 'd/a greeting', size_bytes: 5 }]],
    );
    const id = ran['job_id'];
    const [listed, output, status, inline, saved] = await Promise.all([
      call('get_job_artifacts', { job_id: id }),
      call('get_job_output', { job_id: id }),
      call('get_job_status', { job_id: id }),
      call('download_artifact', { job_id: id, artifact_name: 'd/a greeting' }),
      call('download_artifact', {
        job_id: id,
        artifact_name: 'd/a greeting',
        save_to: `${dir.path('saved')}/`,
      }),
    ]);
    assert.equal(listed['total_size_bytes'], 5);
    assert.equal(output['output'], 'hello');
    assert.equal(status['status'], 'completed');
    assert.equal(inline['text'], 'hello');
    assert.equal(saved['saved_to'], dir.path('saved', 'a greeting'));
    assert.equal(await readFile(dir.path('saved', 'a greeting'), 'utf8'), 'hello');

    const spawned = await call('spawn_worker', { ...SMALL, command: 'sleep 600' });
    await call('kill_job', { job_id: spawned['job_id'] });
    const ended = await call('wait_for_job', { job_id: spawned['job_id'] });
    assert.equal(ended['status'], 'cancelled');
    const again = await call('rerun_job', { job_id: spawned['job_id'] });
    await call('kill_job', { job_id: again['job_id'] });
    const all = await call('list_jobs', { limit: 2 });
    assert.equal((all['jobs'] as Structured[])[0]?.['job_id'], again['job_id']);

    const images = await call('list_images', { program: 'gcc' });
    assert.ok(
      (images['images'] as Structured[]).some(({ name }) => name === 'base'),
      JSON.stringify(images),
    );

    const sub = await call('spawn_sub_agent', {
      task: 'greet',
      git_branch: 'main',
      files: { local_path: dir.path('project') },
      cpus: 1,
      memory_gb: 1,
    });
    const job = await stack.caller.job(String(sub['job_id']));
    assert.deepEqual([job['type'], job['task'], job['git_branch']], ['agent', 'greet', 'main']);
    const upload = await stack.caller.json('GET', `/uploads/${String(job['files_id'])}`);
    assert.ok(Number(upload.body['file_count']) > 5, 'the repository has to go along');
    assert.deepEqual([...used].sort(), tools.map(({ name }) => name).sort());
  });

  it('pass the Inspector’s check of portable schemas without a remark', async () => {
    const command = [
      INSPECTOR,
      '--cli',
      '--connect-timeout',
      '0',
      '--method',
      'tools/list',
      '--strict',
      '--server-url',
      `${stack.caller.url}/mcp`,
    ];
    const { stderr } = await promisify(execFile)(
      process.execPath,
      [...command, '--transport', 'http', '--header', `Authorization: Bearer ${stack.caller.token}`],
      { env: { PATH: process.env['PATH'], HOME: dir.path() } },
    );
    assert.doesNotMatch(stderr, /Warning|Error/);
  });

  it('work over HTTP as well', async () => {
    const ran = await use('http', 'run_command', {
      ...SMALL,
      command: 'echo over http; echo 1 > /artifacts/one',
    });
    assert.deepEqual([ran['status'], ran['output']], ['completed', 'over http']);
    const fetched = await use('http', 'download_artifact', { job_id: ran['job_id'], artifact_name: 'one' });
    assert.equal(fetched['text'], '1\n');
    const { contents } = (await inspect('http', 'resources/read', [
      '--uri',
      `flashpods://jobs/${String(ran['job_id'])}/log`,
    ])) as { contents: { text: string }[] };
    assert.equal(contents[0]?.text, 'over http');
  });

  it('say of a failed job its exit code, its last lines and what looks like the error', async () => {
    const filler = 'i=0; while [ $i -lt 1500 ]; do echo "filler $i"; i=$((i+1)); done';
    const command = `echo 'main.c:3:5: error: the first of all'; ${filler}; echo "last words"; exit 7`;
    const { structured, text, isError } = await agent.call('run_command', { ...SMALL, command });
    assert.equal(isError, false);
    assert.deepEqual([structured['status'], structured['exit_code']], ['failed', 7]);
    assert.deepEqual(structured['error_lines'], ['1: main.c:3:5: error: the first of all']);
    assert.match(text, /Next: [^]*filler 1499\nlast words\n[0-9a-f]{16}>>>$/);
    assert.match(text, /get_job_output \{"job_id":"job_\w+","from_line":1,"head":100\} shows more/);
    assert.ok(text.length < 2_000, String(text.length));
  });

  it('name the cause when it was not the command itself', async () => {
    const { structured, text } = await agent.call('run_command', {
      ...SMALL,
      command: 'tail /dev/zero',
    });
    assert.deepEqual([structured['status'], structured['error']], ['failed', 'oom_killed']);
    assert.match(text, /oom_killed.*\n[^]*Next: The job had 1 GB: ask for more `memory_gb`/);
  });

  it('never flood: a line of 30 MB, binary, and 5,000 lines come short, with the call that shows more', async () => {
    const command =
      'head -c 30000000 /dev/zero | tr "\\0" z; echo; head -c 5000 /dev/urandom; echo; i=0; while [ $i -lt 5000 ]; do echo "line $i"; i=$((i+1)); done';
    const ran = await agent.call('run_command', { ...SMALL, command });
    assert.equal(ran.structured['status'], 'completed');
    assert.ok(ran.text.length < 5_000, String(ran.text.length));
    const id = ran.structured['job_id'];
    const few = await agent.call('get_job_output', { job_id: id, tail: 10_000 });
    assert.ok(Buffer.byteLength(String(few.structured['output'])) <= 12_000);
    assert.ok(Number(few.structured['omitted_lines']) > 3_000);
    const next = /^get_job_output (\{.*\}) shows the lines before/.exec(String(few.structured['next']))?.[1];
    const more = await agent.call('get_job_output', JSON.parse(next ?? '{}') as object);
    const firstOf = (answer: { structured: Structured }): number => Number(answer.structured['first_line']);
    assert.equal(firstOf(more) + Number(more.structured['lines']), firstOf(few));
    const start = await agent.call('get_job_output', { job_id: id, from_line: 1 });
    const [line = ''] = String(start.structured['output']).split('\n');
    assert.match(line, /^z+ …\[\d+ characters left out\]… z+( …)?$/);
    assert.ok(line.length < 2_200);
    let found = await agent.call('get_job_output', { job_id: id, grep: '^line 2500$', context: 1 });
    for (let on: string | undefined = ''; found.structured['matches'] === 0 && on !== undefined;) {
      on = /^get_job_output (\{.*\}) searches on/.exec(String(found.structured['next']))?.[1];
      found = await agent.call('get_job_output', JSON.parse(on ?? '{}') as object);
    }
    const numbered = String(found.structured['output']).split('\n');
    assert.deepEqual(
      numbered.map((each) => each.replace(/^\d+/, '')),
      ['-line 2499', ':line 2500', '-line 2501'],
    );
    assert.equal(found.structured['matches'], 1);
    const file = dir.path('whole.log');
    const saved = await agent.call('get_job_output', { job_id: id, save_to: file });
    const bytes = await readFile(file);
    assert.equal(saved.structured['log_bytes'], bytes.length, saved.text);
    assert.ok(
      bytes.length > 30_005_000 && bytes.subarray(-10).equals(Buffer.from('\nline 4999\n').subarray(-10)),
    );
    const again = await agent.call('get_job_output', { job_id: id, save_to: file });
    assert.match(again.text, /^file_exists: /);
    const outside = await agent.call('get_job_output', { job_id: id, save_to: '/etc/flashpods.log' });
    assert.match(outside.text, /^path_not_allowed: save_to /);
  });

  it('say why a job waits, and where it stands', async () => {
    const [first, second] = await Promise.all(
      [1, 2].map(() => agent.call('spawn_worker', { ...SMALL, cpus: 2, memory_gb: 2, command: 'sleep 600' })),
    );
    const ids = [first, second].map((each) => String(each?.structured['job_id']));
    const { structured } = await agent.call('list_jobs', { status: 'running' });
    assert.equal((structured['jobs'] as unknown[]).length, 2);
    const deadline = performance.now() + 20_000;
    let waiting: Structured | undefined;
    while (!waiting && performance.now() < deadline) {
      const reports = await Promise.all(ids.map((id) => agent.call('get_job_status', { job_id: id })));
      waiting = reports
        .map((report) => report.structured)
        .find((report) => String(report['waiting_reason']).startsWith('Waiting for'));
    }
    assert.equal(waiting?.['queue_position'], 1);
    assert.match(String(waiting?.['waiting_reason']), /Waiting for 2 cpus(?: and|,) 2 GB/);
    await Promise.all(ids.map((id) => agent.call('kill_job', { job_id: id })));
    await Promise.all(ids.map((id) => agent.call('wait_for_job', { job_id: id })));
  });

  it('tell progress while they wait, with the last line printed', async () => {
    const told: Progress[] = [];
    const call = agent.call(
      'run_command',
      { ...SMALL, command: 'echo working hard; sleep 4' },
      { onprogress: (progress) => told.push(progress) },
    );
    assert.equal((await call).structured['status'], 'completed');
    assert.ok(told.some(({ message }) => message?.includes('last line: working hard')));
    assert.deepEqual(
      told.map(({ progress }) => progress),
      told.map(({ progress }) => progress).toSorted((a, b) => a - b),
    );
  });

  it('never replace a file unless told to', async () => {
    const { structured } = await agent.call('run_command', {
      ...SMALL,
      command: 'echo new > /artifacts/file',
    });
    const path = dir.path('there');
    await writeFile(path, 'old');
    const args = { job_id: structured['job_id'], artifact_name: 'file', save_to: path };
    const refused = await agent.call('download_artifact', args);
    assert.match(refused.text, /^file_exists: [^]*overwrite: true/);
    assert.equal(await readFile(path, 'utf8'), 'old');
    await agent.call('download_artifact', { ...args, overwrite: true });
    assert.equal(await readFile(path, 'utf8'), 'new\n');
    const absent = await agent.call('download_artifact', { ...args, artifact_name: '../file' });
    assert.match(absent.text, /^artifact_not_found: /);
  });

  it('offer logs and artifacts as resources, and complete their names', async () => {
    const { structured } = await agent.call('run_command', {
      ...SMALL,
      command:
        'echo printed; mkdir /artifacts/a; echo kept > /artifacts/a/b.txt; printf "\\0\\1" > /artifacts/bytes',
    });
    const id = String(structured['job_id']);
    const { client } = agent;
    const { resources } = await client.listResources();
    assert.ok(resources.some(({ uri }) => uri === `flashpods://jobs/${id}/log`));
    const read = async (uri: string) => (await client.readResource({ uri })).contents[0];
    assert.deepEqual(await read(`flashpods://jobs/${id}/artifacts/a/b.txt`), {
      uri: `flashpods://jobs/${id}/artifacts/a/b.txt`,
      mimeType: 'text/plain',
      text: 'kept\n',
    });
    const bytes = await read(`flashpods://jobs/${id}/artifacts/bytes`);
    assert.equal(bytes && 'blob' in bytes ? bytes.blob : null, 'AAE=');
    await assert.rejects(read(`flashpods://jobs/${id}/artifacts/none`), /artifact_not_found/);
    await assert.rejects(
      read('flashpods://jobs/job_aaaaaaaaaaaa/log'),
      /job_not_found: .*\n.*Call list_jobs/,
    );
    const complete = async (uri: string, name: string, value: string, known: Record<string, string> = {}) =>
      (
        await client.complete({
          ref: { type: 'ref/resource', uri },
          argument: { name, value },
          context: { arguments: known },
        })
      ).completion.values;
    assert.deepEqual(await complete('flashpods://jobs/{job_id}/log', 'job_id', id.slice(0, 12)), [id]);
    const template = 'flashpods://jobs/{job_id}/artifacts/{+name}';
    assert.deepEqual(await complete(template, 'name', 'a', { job_id: id }), ['a/b.txt']);
  });

  it('run as tasks for clients that know them, over connections that come and go', async () => {
    const connect = async (): Promise<Client> => {
      const client = new Client({ name: 'tasks', version: '1' });
      const transport = new StreamableHTTPClientTransport(new URL(`${stack.caller.url}/mcp`), {
        requestInit: { headers: { authorization: `Bearer ${stack.caller.token}` } },
      });
      await client.connect(transport);
      return client;
    };
    const first = await connect();
    const begin = async (command: string): Promise<string> => {
      const params = { name: 'run_command', arguments: { ...SMALL, command } };
      for await (const message of first.experimental.tasks.callToolStream(params, undefined, { task: {} })) {
        if (message.type === 'taskCreated') return message.task.taskId;
        if (message.type === 'error') throw message.error;
      }
      return assert.fail('no task was created');
    };
    const [fine, long] = [await begin('echo from a task'), await begin('sleep 600')];
    await first.close();
    const second = await connect();
    const { tasks } = second.experimental;
    const result = await tasks.getTaskResult(fine, CallToolResultSchema);
    assert.equal((result.structuredContent as Structured)['output'], 'from a task');
    assert.equal((await tasks.getTask(fine)).status, 'completed');
    assert.equal((await tasks.cancelTask(long)).status, 'cancelled');
    assert.equal((await tasks.getTask(long)).status, 'cancelled');
    assert.ok((await tasks.listTasks()).tasks.some(({ taskId }) => taskId === fine));
    await assert.rejects(tasks.getTask('job_aaaaaaaaaaaa'), /There is no task/);
    assert.equal((await stack.caller.ended(long)).status, 'cancelled');
    await second.close();
  });
});
