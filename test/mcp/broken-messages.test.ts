import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import * as fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import type { ApiServer } from '../../api/server.ts';
import { toolsCapability } from '../../src/mcp/capabilities/tools.ts';
import type { ServerDefinition } from '../../src/mcp/server.ts';
import { serveStdio } from '../../src/mcp/stdio.ts';
import { startMcpApi } from './mcp-api.ts';

type Message = Readonly<Record<string, unknown>>;

const definition = (): ServerDefinition => ({
  capabilities: [
    toolsCapability(
      [
        {
          name: 'echo',
          description: 'says it',
          input: z.strictObject({}),
          call: async () => ({ content: [] }),
        },
      ],
      () => ({ content: [], isError: true }),
    ),
  ],
});

const LAST = 'the-last-one';

/** What a client gets for lines, over stdio, until a sound request behind them is answered. */
async function overStdio(...lines: (string | Buffer)[]): Promise<Message[]> {
  const [input, output, stop] = [new PassThrough(), new PassThrough(), new AbortController()];
  const served = serveStdio(definition(), { input, output, stop: stop.signal });
  for (const line of [...lines, JSON.stringify({ jsonrpc: '2.0', id: LAST, method: 'ping' })]) {
    input.write(line);
    input.write('\n');
  }
  let text = '';
  for await (const chunk of output as AsyncIterable<Buffer>) {
    text += chunk.toString();
    if (text.includes(LAST)) break;
  }
  stop.abort();
  await served;
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Message)
    .filter(({ id }) => id !== LAST);
}

interface Case {
  readonly name: string;
  readonly line: string | Buffer<ArrayBuffer>;
  /** Ids of what is answered, in any order. */
  readonly ids: readonly unknown[];
  readonly code: number;
}

const json = (value: unknown): string => JSON.stringify(value);
const call = { jsonrpc: '2.0', id: 7, method: 'tools/list' };
const INVALID = -32600;
const CASES: readonly Case[] = [
  { name: 'no JSON', line: 'hello', ids: [null], code: -32700 },
  { name: 'a comma too many', line: '{"jsonrpc":"2.0","id":7,"method":"ping",}', ids: [7], code: -32700 },
  {
    name: 'cut off',
    line: '{"id":"a\\"b","method":"tools/call","params":{"id":3',
    ids: ['a"b'],
    code: -32700,
  },
  { name: 'cut off within its id', line: '{"jsonrpc":"2.0","id":12', ids: [null], code: -32700 },
  {
    name: 'UTF-8 cut off',
    line: Buffer.from('{"id":7,"method":"pingé"}').subarray(0, -3),
    ids: [7],
    code: -32700,
  },
  {
    name: 'no UTF-8',
    line: Buffer.concat([
      Buffer.from('{"method":"x","params":{"y":"'),
      Buffer.from([0xc3]),
      Buffer.from('"},"id":7}'),
    ]),
    ids: [7],
    code: -32700,
  },
  { name: 'a number', line: '42', ids: [null], code: INVALID },
  { name: 'null', line: 'null', ids: [null], code: INVALID },
  { name: 'an empty batch', line: '[]', ids: [null], code: INVALID },
  { name: 'no version', line: json({ id: 7, method: 'ping' }), ids: [7], code: INVALID },
  { name: 'a wrong version', line: json({ ...call, jsonrpc: '1.0' }), ids: [7], code: INVALID },
  { name: 'no method', line: json({ jsonrpc: '2.0', id: 7 }), ids: [7], code: INVALID },
  { name: 'a number as method', line: json({ ...call, method: 3 }), ids: [7], code: INVALID },
  { name: 'null as id', line: json({ ...call, id: null }), ids: [null], code: INVALID },
  { name: 'half a number as id', line: json({ ...call, id: 1.5 }), ids: [1.5], code: INVALID },
  { name: 'an object as id', line: json({ ...call, id: {} }), ids: [null], code: INVALID },
  { name: 'a list as params', line: json({ ...call, params: [1] }), ids: [7], code: -32602 },
  { name: 'a text as params', line: json({ ...call, params: 'x' }), ids: [7], code: -32602 },
  { name: 'wrong params', line: json({ ...call, method: 'tools/call', params: {} }), ids: [7], code: -32602 },
  { name: 'wrong meta', line: json({ ...call, params: { _meta: 'x' } }), ids: [7], code: -32602 },
  { name: 'half an initialization', line: json({ ...call, method: 'initialize' }), ids: [7], code: -32602 },
  { name: 'an unknown method', line: json({ ...call, method: 'tools/nope' }), ids: [7], code: -32601 },
  { name: 'half an answer', line: json({ jsonrpc: '2.0', id: 7, result: 'x' }), ids: [null], code: INVALID },
  {
    name: 'a batch with a broken message',
    line: json([
      { ...call, id: 1, method: 4 },
      { ...call, id: 2, method: 'x' },
    ]),
    ids: [1, 2],
    code: 0,
  },
];

describe('a broken message', () => {
  let api: ApiServer;
  let session = '';
  before(async () => {
    api = await startMcpApi(definition);
    const clientInfo = { name: 'test', version: '1' };
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
    const begun = await post(json({ jsonrpc: '2.0', id: 1, method: 'initialize', params }));
    session = begun.headers.get('mcp-session-id') ?? '';
    await begun.text();
  });
  after(() => api.stop());

  const post = (body: string | Buffer<ArrayBuffer>): Promise<Response> =>
    fetch(`${api.url}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(session === '' ? {} : { 'mcp-session-id': session }),
      },
      body,
    });
  async function overHttp(body: string | Buffer<ArrayBuffer>): Promise<Message[]> {
    const text = await (await post(body)).text();
    const plain = text.trimStart().startsWith('{') || text.trimStart().startsWith('[');
    if (plain) return [JSON.parse(text) as Message | Message[]].flat();
    return [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data = '']) => JSON.parse(data) as Message);
  }

  for (const { name, line, ids, code } of CASES) {
    it(`is answered with its id on both transports: ${name}`, async () => {
      for (const answers of [await overStdio(line), await overHttp(line)]) {
        const sorted = answers.map(({ id }) => id).sort();
        assert.deepEqual(sorted, [...ids], json(answers));
        if (code !== 0) assert.equal((answers[0]?.['error'] as { code: number }).code, code, json(answers));
      }
    });
  }

  it('that tells something is not answered over stdio', async () => {
    assert.deepEqual(
      await overStdio(json({ jsonrpc: '2.0', method: 'notifications/x', params: 3 }), '', ' '),
      [],
    );
  });

  it('is answered once, with any members', async () => {
    const member = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom('2.0', 'ping', 'tools/list', 'tools/call'),
    );
    const message = fc.record(
      {
        jsonrpc: fc.oneof({ weight: 3, arbitrary: fc.constant('2.0') }, member),
        id: fc.oneof(fc.integer(), fc.string(), fc.double(), fc.jsonValue({ maxDepth: 1 })),
        method: fc.oneof(fc.constantFrom('ping', 'tools/list', 'tools/call', 'initialize', 'nope'), member),
        params: fc.oneof(
          fc.dictionary(fc.constantFrom('name', 'arguments', '_meta', 'task'), member),
          member,
        ),
      },
      { requiredKeys: ['id', 'method'] },
    );
    await fc.assert(
      fc.asyncProperty(message, async (broken) => {
        const line = json(broken);
        const { id } = JSON.parse(line) as { id: unknown };
        const told = typeof id === 'string' || typeof id === 'number' ? id : null;
        assert.deepEqual(
          (await overStdio(line)).map((answer) => answer['id']),
          [told],
        );
        assert.deepEqual(
          (await overHttp(line)).map((answer) => answer['id']),
          [told],
        );
      }),
      { numRuns: 60 },
    );
  });

  it('is answered with its id wherever it is cut off behind it', async () => {
    const whole = json({
      jsonrpc: '2.0',
      id: 'ä',
      method: 'tools/call',
      params: { name: 'é', arguments: { id: 3 } },
    });
    const bytes = Buffer.from(whole);
    const behindId = Buffer.byteLength(whole.slice(0, whole.indexOf(',"method"')));
    for (let end = behindId; end < bytes.length; end += 1) {
      assert.deepEqual(
        (await overStdio(bytes.subarray(0, end))).map(({ id }) => id),
        ['ä'],
      );
    }
  });
});
