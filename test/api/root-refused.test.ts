import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { execa } from 'execa';
import { after, before, describe, it } from 'mocha';
import { COMMAND, startAgent } from '../mcp/stdio-client.ts';
import { scratch } from '../support/scratch.ts';
import { type RunningApi, startApi } from './running-api.ts';

const SAID = /may not run as root here \(FLASHPODS_ALLOW_ROOT=false\): leave `root` out/;

describe('a farm on which no job may be root', () => {
  const dir = scratch();
  const farms = new Map<boolean, RunningApi>();
  before(async () => {
    await dir.make();
    for (const allowsRoot of [true, false]) farms.set(allowsRoot, await startApi({ allowsRoot }));
  });
  after(async () => {
    for (const api of farms.values()) await api.stop();
  });
  const farm = (allowsRoot: boolean): RunningApi => {
    const api = farms.get(allowsRoot);
    assert.ok(api);
    return api;
  };
  const environment = ({ caller, token }: RunningApi): Record<string, string> => ({
    HOME: dir.path(),
    FLASHPODS_URL: caller.url,
    FLASHPODS_API_TOKEN: token,
  });

  it('refuses one over the API, says so in GET /images, and takes the job without it', async () => {
    const { caller } = farm(false);
    const job = { type: 'worker', command: 'true', client_job_id: 'a7c2bb2e-3c5e-4dc8-b9a2-5d1d3f1d2f10' };
    for (const type of ['worker', 'agent']) {
      const agent = {
        type,
        task: 'x',
        git_url: 'https://example.org/x.git',
        git_branch: 'b',
        image: 'localhost/agent:1',
      };
      const asked = type === 'worker' ? job : agent;
      const { status, body } = await caller.json('POST', '/jobs', { ...asked, root: true });
      assert.equal(status, 400, JSON.stringify(body));
      assert.match(JSON.stringify(body), SAID);
    }
    const packages = await caller.json('POST', '/jobs', { ...job, packages: ['hello'] });
    assert.deepEqual([packages.status, packages.body['error']], [400, 'invalid_request']);
    assert.match(JSON.stringify(packages.body), /choose an image that has them/);
    assert.equal((await caller.json('POST', '/jobs', job)).status, 201);
    assert.equal((await caller.json('GET', '/images')).body['allows_root'], false);
    assert.equal((await farm(true).caller.json('GET', '/images')).body['allows_root'], true);
  });

  it('says it to a person who types --root', async () => {
    const args = [COMMAND, 'run', '--detach', '--root', '--', 'true'];
    const env = { PATH: process.env['PATH'] ?? '', ...environment(farm(false)) };
    const refused = await execa(process.execPath, args, { env, extendEnv: false, reject: false });
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stderr.replaceAll(/\s+/g, ' '), SAID);
  });

  it('does not offer `root` to agents, over stdio and over HTTP', async () => {
    for (const allowsRoot of [true, false]) {
      const api = farm(allowsRoot);
      const agent = await startAgent(environment(api));
      const remote = new Client({ name: 'test', version: '1' });
      const headers = { Authorization: `Bearer ${api.token}` };
      const transport = new StreamableHTTPClientTransport(new URL(`${api.caller.url}/mcp`), {
        requestInit: { headers },
      });
      await remote.connect(transport);
      try {
        for (const client of [agent.client, remote]) {
          const { tools } = await client.listTools();
          const taking = tools.filter(({ inputSchema }) => 'root' in (inputSchema.properties ?? {}));
          assert.deepEqual(
            taking.map(({ name }) => name),
            allowsRoot ? ['run_command', 'spawn_worker', 'spawn_sub_agent'] : [],
          );
        }
        if (!allowsRoot) {
          const refused = await agent.call('run_command', { command: 'true', root: true });
          assert.ok(refused.isError);
          assert.match(refused.text, /root/);
        }
      } finally {
        await remote.close();
        await agent.close();
      }
    }
  });
});
