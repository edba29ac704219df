import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { after, before, describe, it } from 'mocha';
import type { ApiServer } from '../../api/server.ts';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { scratch } from '../support/scratch.ts';
import { suiteServer } from './fixtures/suite.ts';
import { startMcpApi } from './mcp-api.ts';

const SUITE = new URL('../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url)
  .pathname;

/** What needs nothing but a server that has tools and resources; the others call the suite's own fixtures by name. */
const FOR_ANY_SERVER = [
  'server-initialize',
  'ping',
  'tools-list',
  'resources-list',
  'server-sse-multiple-streams',
  'dns-rebinding-protection',
];

interface Check {
  readonly id: string;
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'INFO' | 'SKIPPED';
  readonly errorMessage?: string;
}

describe('the official MCP conformance suite', () => {
  const dir = scratch();
  let suite: ApiServer;
  let product: RunningApi;
  let door: Server;

  before(async () => {
    await dir.make();
    suite = await startMcpApi(suiteServer);
    product = await startApi();
    // The suite has no token to send: this adds ours and changes nothing else.
    door = createServer((incoming, outgoing) => {
      const { method, url, headers } = incoming;
      const authorization = `Bearer ${product.token}`;
      const forwarded = request(
        { host: '127.0.0.1', port: product.port, method, path: url, headers: { ...headers, authorization } },
        (answer) => {
          outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(outgoing);
        },
      );
      outgoing.on('close', () => forwarded.destroy());
      forwarded.on('error', () => outgoing.destroy());
      incoming.pipe(forwarded);
    });
    await new Promise<void>((listening) => door.listen(0, '127.0.0.1', listening));
  });
  after(async () => {
    door.closeAllConnections();
    await new Promise((closed) => door.close(closed));
    await suite.stop();
    await product.stop();
  });

  /** @returns the checks by scenario, without those that only tell */
  async function run(url: string, name: string, args: readonly string[]): Promise<Map<string, Check[]>> {
    const output = dir.path(name);
    const command = [SUITE, 'server', '--url', `${url}/mcp`, '--output-dir', output, ...args];
    const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: dir.path() }).catch(
      (error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }),
    );
    const results = new Map<string, Check[]>();
    for (const folder of await readdir(output).catch(() => assert.fail(stdout))) {
      const scenario = folder.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
      const checks = JSON.parse(await readFile(join(output, folder, 'checks.json'), 'utf8')) as Check[];
      results.set(
        scenario,
        checks.filter(({ status }) => status !== 'INFO'),
      );
    }
    return results;
  }

  const refused = (results: Map<string, Check[]>): string[] =>
    [...results].flatMap(([scenario, checks]) =>
      checks.length === 0
        ? [`${scenario}: nothing was checked`]
        : checks
            .filter(({ status }) => status !== 'SUCCESS')
            .map(({ id, status, errorMessage }) => `${scenario}: ${id} ${status} ${errorMessage ?? ''}`),
    );

  it('passes whole on our plumbing, with the suite’s own tools, prompts and resources', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [SUITE, 'list', '--server']);
    const all = [...stdout.matchAll(/^ {2}- (\S+)/gm)].map(([, name = '']) => name);
    const results = await run(suite.url, 'suite', ['--suite', 'all']);
    assert.deepEqual([...results.keys()].sort(), all.sort());
    assert.deepEqual(refused(results), []);
  });

  it('passes on the product as far as it needs no fixture', async () => {
    const url = `http://127.0.0.1:${(door.address() as AddressInfo).port}`;
    const results = await Promise.all(
      FOR_ANY_SERVER.map((scenario) => run(url, scenario, ['--scenario', scenario])),
    );
    assert.deepEqual(results.flatMap((each) => [...each.keys()]).sort(), [...FOR_ANY_SERVER].sort());
    assert.deepEqual(results.flatMap(refused), []);
  });
});
