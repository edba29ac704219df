import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, describe, it } from 'mocha';
import { AnswerTooLarge, Peer, type Sending, wholeBody } from '../../src/http/peer.ts';

describe('a peer that is spoken to by HTTP', () => {
  let server: Server | undefined;
  let peer: Peer | undefined;
  let seen: string[] = [];

  afterEach(async () => {
    peer?.close();
    server?.closeAllConnections();
    await new Promise((resolve) => (server ? server.close(resolve) : resolve(null)));
    server = peer = undefined;
  });

  async function talk(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Peer> {
    seen = [];
    const made = createServer((request, response) => {
      seen.push(request.method ?? '');
      answer(request, response);
    });
    server = made;
    await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
    peer = new Peer(new URL(`http://127.0.0.1:${(made.address() as AddressInfo).port}/ignored?too`));
    return peer;
  }
  const sending = (fields: Partial<Sending> = {}): Sending => ({
    method: 'GET',
    path: '/',
    headers: {},
    repeatable: true,
    ...fields,
  });
  const text = async (to: Peer, fields?: Partial<Sending>): Promise<string> =>
    (await wholeBody(await to.send(sending(fields)))).toString();

  /** Closes the connection on which the second request comes, before it answers. */
  const closingOnce = (): Promise<Peer> =>
    talk((request, response) => {
      if (seen.length === 2) request.socket.destroy();
      else response.end('here');
    });

  it('is asked again when it closed a kept connection at the moment it was used', async () => {
    const to = await closingOnce();
    await text(to);
    assert.equal(await text(to, { method: 'PUT' }), 'here');
    assert.deepEqual(seen, ['GET', 'PUT', 'PUT']);
  });

  it('is never asked a second time for what may not be repeated', async () => {
    const to = await closingOnce();
    await text(to);
    await assert.rejects(text(to, { method: 'POST', repeatable: false }), { code: 'ECONNRESET' });
    assert.deepEqual(seen, ['GET', 'POST']);
  });

  it('is asked once where the connection was new, and failed', async () => {
    const to = await talk((request) => request.socket.destroy());
    await assert.rejects(text(to), { code: 'ECONNRESET' });
    await assert.rejects(text(to, { fresh: true }), { code: 'ECONNRESET' });
    assert.equal(seen.length, 2);
  });

  it('keeps its connection from one request to the next', async () => {
    const ports = new Set<number | undefined>();
    const to = await talk((request, response) => {
      ports.add(request.socket.remotePort);
      response.end('here');
    });
    await text(to);
    await text(to);
    assert.equal(ports.size, 1);
    await text(to, { fresh: true });
    assert.equal(ports.size, 2);
  });

  it('may not answer with more than is read in one piece', async () => {
    const to = await talk((_, response) => {
      const megabyte = Buffer.alloc(1024 * 1024);
      const write = (left: number): void => {
        if (left === 0) response.end();
        else response.write(megabyte, () => write(left - 1));
      };
      write(65);
    });
    await assert.rejects(text(to), AnswerTooLarge);
  });

  for (const [what, fields] of [
    ['is silent', { silenceMs: 30 }],
    ['takes longer than the deadline', { deadlineMs: 30 }],
  ] as const)
    it(`is given up when it ${what}`, async () => {
      const to = await talk(() => undefined);
      await assert.rejects(text(to, fields), { code: 'ETIMEDOUT' });
    });

  it('is given up within its answer when that takes longer than the deadline', async () => {
    const to = await talk((_, response) => void response.write('the beginning'));
    await assert.rejects(text(to, { deadlineMs: 100 }), { code: 'ECONNRESET' });
  });

  it('is left when the signal is aborted, with its reason', async () => {
    const stop = new AbortController();
    const to = await talk(() => stop.abort(new Error('stopped')));
    await assert.rejects(text(to, { signal: stop.signal }), /stopped/);
    await assert.rejects(text(to, { signal: stop.signal }), /stopped/);
    assert.equal(seen.length, 1);
  });

  it('costs no start of undici: node:http is not imported by its names', async () => {
    const module = new URL('../../src/http/peer.ts', import.meta.url).href;
    const code = `await import(${JSON.stringify(module)}); process.stdout.write(process.moduleLoadList.filter((name) => name.includes('undici')).join())`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code]);
    assert.equal(stdout, '');
  });
});
