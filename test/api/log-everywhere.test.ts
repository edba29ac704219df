import assert from 'node:assert/strict';
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import type { LogLine } from '../../src/client/answers.ts';
import { FlashpodsClient } from '../../src/client/client.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { printedBytes } from '../../src/logs/log-store.ts';
import { pause } from '../../src/timing/bell.ts';
import { start } from '../cli/console.ts';
import { connectionTo } from '../client/wire-server.ts';
import { entry, type SpoolEntry, spoolOf } from '../logs/spool.ts';
import { linesOf } from '../../src/mcp/log-text.ts';
import { type Agent, startAgent } from '../mcp/stdio-client.ts';
import { scratch } from '../support/scratch.ts';
import { makeCompleted } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

/** What a job printed to a stream; conmon cuts it anywhere. */
const printedTo = (all: readonly SpoolEntry[], stream: 'stdout' | 'stderr'): Buffer =>
  Buffer.concat(
    all
      .filter((one) => one.stream === stream)
      .flatMap(({ text, tag }) => [text, Buffer.from(tag === 'F' ? '\n' : '')]),
  );

describe('the log of a job', () => {
  let api: RunningApi;
  let client: FlashpodsClient;
  let logs: LocalLogStore;
  let agent: Agent;
  const dir = scratch();

  before(async () => {
    await dir.make();
    api = await startApi({ rate: { perSecond: 100_000, burst: 100_000 } });
    client = new FlashpodsClient({ ...connectionTo(`http://127.0.0.1:${api.port}`), token: api.token });
    await mkdir(join(api.dir, 'logs'), { recursive: true });
    logs = new LocalLogStore(join(api.dir, 'logs'));
    const connection = { FLASHPODS_URL: `http://127.0.0.1:${api.port}`, FLASHPODS_API_TOKEN: api.token };
    agent = await startAgent({ HOME: dir.path('home'), ...connection }, { roots: [dir.path()] });
  });
  after(async () => {
    await agent.close();
    client.close();
    await api.stop();
  });

  /** All lines, by one call after the other as `next` says. */
  async function throughMcp(id: string): Promise<string[]> {
    const lines: string[] = [];
    let next: object | null = { job_id: id, from_line: 1, max_bytes: 2_000 };
    while (next !== null) {
      const { structured, text } = await agent.call('get_job_output', next);
      if (Number(structured['lines']) > 0) lines.push(...String(structured['output']).split('\n'));
      assert.equal(structured['omitted_lines'] === undefined, false, text);
      const call = /^get_job_output (\{.*\}) goes on\.$/.exec(String(structured['next']))?.[1];
      next = call === undefined ? null : (JSON.parse(call) as object);
    }
    return lines;
  }

  const piece = fc.oneof(
    { weight: 5, arbitrary: fc.stringMatching(/^[a-zé€😀]{0,80}$/u).map((text) => Buffer.from(text)) },
    {
      weight: 2,
      arbitrary: fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes.filter((b) => b !== 10))),
    },
  );
  const entries = fc.array(
    fc.record({
      stream: fc.constantFrom('stdout' as const, 'stdout' as const, 'stderr' as const),
      tag: fc.constantFrom('F' as const, 'F' as const, 'P' as const),
      text: piece,
    }),
    { maxLength: 80, size: 'max' },
  );

  it('is the same by file, tail, offset, records, events, command line and MCP, to the byte', async () => {
    await fc.assert(
      fc.asyncProperty(entries, fc.integer({ min: 0, max: 80 }), async (all, pauseAfter) => {
        const id = await api.caller.submit('true');
        const spoolPath = join(api.dir, `${id}.spool`);
        const capture = await logs.capture({ jobId: id, spoolPath });
        capture.follow();
        const lines: LogLine[] = [];
        const following = (async () => {
          for await (const { type, data } of client.events(id, null))
            if (type === 'log') lines.push(...(data['lines'] as LogLine[]));
        })();
        await appendFile(spoolPath, spoolOf(all.slice(0, pauseAfter)));
        await pause(20); // any cut will do: the property holds for all of them
        await appendFile(spoolPath, spoolOf(all.slice(pauseAfter)));
        await capture.finish();
        await makeCompleted(api.store, id);
        await following;

        const file = await readFile(join(api.dir, 'logs', `${id}.log`));
        const output = `/jobs/${id}/output`;
        const json = async (
          query: string,
        ): Promise<{ output: string; next_offset: number; total_bytes: number }> =>
          (await api.caller.json<never>('GET', `${output}?${query}`)).body;
        assert.equal((await json('tail=10000')).output, file.toString(), 'by tail');
        assert.equal((await json('offset=0')).output, file.toString(), 'by offset');
        const raw = async (stream: string): Promise<Buffer> =>
          Buffer.from(await (await api.caller.fetch(`${output}?format=raw&stream=${stream}`)).arrayBuffer());
        const page = await client.log(id, { offset: 0 });
        const cli = start(['logs', '--raw', id], {
          env: { FLASHPODS_URL: `http://127.0.0.1:${api.port}`, FLASHPODS_API_TOKEN: api.token },
        });
        const logsExit = await cli.exitCode;
        assert.equal(logsExit, 0, cli.stderr());
        for (const stream of ['stdout', 'stderr'] as const) {
          const printed = printedTo(all, stream).toString('hex');
          const of = (some: readonly LogLine[]): string =>
            Buffer.concat(some.filter((line) => line.stream === stream).map(printedBytes)).toString('hex');
          assert.equal(of(lines), printed, 'by events');
          assert.equal(of(page?.lines ?? []), printed, 'as records');
          assert.equal((await raw(stream)).toString('hex'), printed, 'raw');
          const shown = stream === 'stdout' ? cli.stdoutBytes() : cli.stderrBytes();
          assert.equal(shown.toString('hex'), printed, 'by logs --raw');
        }
        assert.deepEqual(page?.lines, lines);
        const target = dir.path(`${id}.log`);
        const saved = await agent.call('get_job_output', { job_id: id, save_to: target });
        const printed = Buffer.concat(lines.map(printedBytes)).toString('hex');
        assert.equal((await readFile(target)).toString('hex'), printed, saved.text);
        assert.deepEqual(
          await throughMcp(id),
          linesOf(lines).map(({ text }) => text),
          'through MCP',
        );
      }),
      { numRuns: 25 },
    );
  });

  it('says wherever it is read that something is missing', async () => {
    const id = await api.caller.submit('true');
    const spoolPath = join(api.dir, `${id}.spool`);
    const capture = await logs.capture({ jobId: id, spoolPath, maxBytes: 10_000 });
    await appendFile(
      spoolPath,
      spoolOf(Array.from({ length: 3_000 }, (_, i) => entry('stdout', 'F', `line ${i}`))),
    );
    await capture.finish();
    const answer = await api.caller.fetch(`/jobs/${id}/output?format=raw`);
    assert.equal(answer.headers.get('x-log-truncated'), 'true');
    const { body } = await api.caller.json<{ output: string; truncated: boolean }>(
      'GET',
      `/jobs/${id}/output?tail=10000`,
    );
    assert.equal(body.truncated, true);
    assert.match(
      body.output,
      /\] \[TRUNCATED - log exceeded 0\.01 MB limit\] \d+ lines, \d+ bytes left out here\n/,
    );
    const run = start(['logs', '--raw', id], {
      env: { FLASHPODS_URL: `http://127.0.0.1:${api.port}`, FLASHPODS_API_TOKEN: api.token },
    });
    assert.equal(await run.exitCode, 0);
    assert.equal(run.stdout(), await answer.text());
    assert.match(run.stderr(), /^flashpods: \[TRUNCATED/);
  });
});
