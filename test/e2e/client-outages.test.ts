import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, after, before, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import { hasCode } from '../../src/client/client-error.ts';
import { finished, start } from '../cli/console.ts';
import { connectionTo, failure, json, type Script, WireServer } from '../client/wire-server.ts';
import { eventually } from '../support/eventually.ts';
import { type Stack, startStack } from '../support/stack.ts';

const LINES = 3_000;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Real jobs, an API that is killed, and connections that break at the worst moment. */
describe('the client while things break', () => {
  let stack: Stack;
  let url: string;
  before(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    stack = await startStack({
      workers: [{ name: 'outages', cpus: 4, memoryGb: 8 }],
      env: { FLASHPODS_LISTEN_ADDR: `127.0.0.1:${port}` },
    });
  });
  after(async () => {
    const active = async (): Promise<number> =>
      (await stack.caller.json<{ jobs: unknown[] }>('GET', '/jobs?status=active')).body.jobs.length;
    await eventually('all jobs have ended', async () => (await active()) === 0);
    await stack.stop();
  });

  const env = (): Record<string, string> => ({ FLASHPODS_URL: url, FLASHPODS_API_TOKEN: stack.caller.token });

  it('prints every line of a job once and in order although the API is killed again and again', async () => {
    const id = await stack.caller.submit(
      `for i in $(seq 1 ${LINES}); do echo line $i; [ $((i % 10)) = 0 ] && sleep 0.01; done; echo end >&2`,
    );
    const running = start(['logs', '-f', id], { env: env() });
    for (const part of [1, 2, 3]) {
      const wanted = `line ${part * 600}\n`;
      await eventually('it has come so far', () => running.stdout().includes(wanted), { everyMs: 5 });
      await stack.api.end('SIGKILL');
      await stack.startApi();
    }
    assert.equal(await running.exitCode, 0);
    const expected = Array.from({ length: LINES }, (_, index) => `line ${index + 1}\n`).join('');
    assert.ok(running.stdout() === expected, 'a line is missing, double, or in another place');
    assert.match(running.stderr(), /^end$/m);
  });

  describe('creating a job', () => {
    let wire: WireServer | undefined;
    afterEach(() => wire?.stop());

    /** Hands requests to the real server, unless the script does something else with them. */
    async function between(
      script: (...args: Parameters<Script>) => 'drop' | 'answered' | 'pass',
    ): Promise<FlashpodsClient> {
      wire = await new WireServer((seen, response, nth) => {
        const what = script(seen, response, nth);
        if (what === 'answered') return;
        const forwarded = httpRequest(`${url}${seen.path}`, {
          method: seen.method,
          headers: seen.headers,
          agent: false,
        });
        forwarded.on('response', (answer) => {
          // The real server has done it; the caller never hears of it.
          if (what === 'drop') {
            answer.resume();
            response.destroy();
          } else answer.pipe(response.writeHead(answer.statusCode ?? 500, answer.headers));
        });
        forwarded.end(Buffer.from(seen.body, 'latin1'));
      }).start();
      return new FlashpodsClient({ ...connectionTo(wire.url), token: stack.caller.token });
    }

    const jobs = async (label: string): Promise<number> => {
      const { body } = await stack.caller.json<{ jobs: unknown[] }>(
        'GET',
        `/jobs?status=all&label=try:${label}`,
      );
      return body.jobs.length;
    };

    for (const [what, script] of [
      [
        '429 with Retry-After',
        (response) => void json(response, 429, failure('rate_limited'), { 'retry-after': '0.1' }),
      ],
      ['503', (response) => void json(response, 503, failure('service_unavailable'))],
      ['500, twice', (response) => void json(response, 500, failure('internal_error'))],
      ['a connection that is dropped before the job was created', (response) => void response.destroy()],
      ['a connection that is dropped after it was created', null],
    ] as const satisfies readonly (readonly [string, ((response: Parameters<Script>[1]) => void) | null])[]) {
      it(`makes one job after ${what}`, async () => {
        const client = await between((_seen, response, nth) => {
          if (nth > 2) return 'pass';
          if (script === null) return 'drop';
          script(response);
          return 'answered';
        });
        const label = what.replaceAll(/[^a-z0-9]/g, '').slice(0, 40);
        const created = await client.createJob({
          type: 'worker',
          command: 'true',
          network: 'none',
          cpus: 1,
          memory_gb: 1,
          labels: { try: label },
        });
        client.close();
        assert.equal(wire?.seen.length, 3);
        assert.equal(await jobs(label), 1);
        assert.equal(created.created, script !== null, 'told of a job that an earlier try has made');
      });
    }

    it('never sends a rerun again when nobody knows whether it was done', async () => {
      const id = await stack.caller.submit('true', { labels: { try: 'rerun' } });
      const client = await between(() => 'drop');
      await assert.rejects(client.rerunJob(id), (error: unknown) => hasCode(error, 'not_reachable'));
      client.close();
      assert.equal(wire?.seen.length, 1);
      assert.equal(await jobs('rerun'), 2);
    });

    it('sends a rerun again when it certainly was not done', async () => {
      const id = await stack.caller.submit('true', { labels: { try: 'again' } });
      const client = await between((_seen, response, nth) => {
        if (nth > 1) return 'pass';
        json(response, 503, failure('service_unavailable'));
        return 'answered';
      });
      assert.equal((await client.rerunJob(id)).created, true);
      client.close();
      assert.equal(await jobs('again'), 2);
    });
  });

  it('runs a job once more, and stays with it when asked', async () => {
    const id = await stack.caller.submit('echo once more; echo x > /artifacts/x; exit 3');
    await stack.caller.ended(id);
    const detached = await finished(['rerun', id], { env: env() });
    assert.match(detached.stdout, /^job_\w+\n$/);
    const followed = await finished(['rerun', '--follow', id], { env: env() });
    assert.deepEqual([followed.exitCode, followed.stdout], [3, 'once more\n']);
    assert.match(followed.stderr, /failed · exit 3 · .* · 1 artifact, 2 B/);
  });
});
