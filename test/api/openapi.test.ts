import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createContext, runInContext } from 'node:vm';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { after, before, describe, it } from 'mocha';
import { parseCreateJob } from '../../src/jobs/request.ts';
import { type RunningApi, startApi } from './running-api.ts';

interface Document {
  openapi: string;
  paths: Record<
    string,
    Record<
      string,
      {
        operationId: string;
        security: unknown[];
        responses: Record<string, unknown>;
        requestBody?: { content: Record<string, { examples?: Record<string, { value: unknown }> }> };
      }
    >
  >;
  components: { schemas: Record<string, unknown> };
}

describe('the OpenAPI document', () => {
  let api: RunningApi;
  let document: Document;

  before(async () => {
    api = await startApi();
    document = (await (await fetch(`${api.server.url}/openapi.json`)).json()) as Document;
  });
  after(() => api.stop());

  const operations = (): [path: string, method: string][] =>
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method): [string, string] => [path, method]),
    );

  it('is OpenAPI 3.1 with an operation id for every operation', () => {
    assert.equal(document.openapi, '3.1.0');
    const ids = operations().map(([path, method]) => document.paths[path]?.[method]?.operationId);
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(ids.every(Boolean));
  });

  it('has nothing that the recommended rules of a public linter find', async () => {
    const source = JSON.stringify(document);
    const config = await createConfig({ extends: ['recommended'] });
    const lint = async (text: string): Promise<string[]> =>
      (await lintFromString({ source: text, absoluteRef: 'openapi.json', config })).map(
        ({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer}`,
      );
    assert.deepEqual(await lint(source), []);
    assert.notDeepEqual(await lint(source.replace('"summary"', '"sumary"')), []);
  });

  it('has only operations that refuse a query parameter that they do not know', async () => {
    for (const [path, method] of operations()) {
      const { operationId, requestBody } = document.paths[path]?.[method] ?? {};
      const type = Object.keys(requestBody?.content ?? {})[0];
      const answer = await fetch(`${api.server.url}${path.replaceAll(/\{\w+\}/g, 'x')}?limt=5`, {
        method: method.toUpperCase(),
        headers: { authorization: `Bearer ${api.token}`, ...(type ? { 'content-type': type } : {}) },
        ...(type ? { body: '{}' } : {}),
      });
      const { error, message } = (await answer.json()) as Record<string, string>;
      assert.deepEqual([operationId, answer.status, error], [operationId, 400, 'invalid_request']);
      assert.match(message ?? '', /unknown field `limt`/, operationId);
    }
  });

  it('names what the specification asks for', () => {
    const listed = operations().map(([path, method]) => `${method.toUpperCase()} ${path}`);
    for (const operation of [
      'POST /jobs',
      'GET /jobs',
      'DELETE /jobs',
      'GET /jobs/{id}',
      'DELETE /jobs/{id}',
      'GET /jobs/{id}/output',
      'GET /jobs/{id}/artifacts',
      'GET /jobs/{id}/artifacts/{name}',
      'POST /uploads',
      'PUT /uploads/{id}/files',
      'POST /uploads/{id}/finalize',
      'GET /uploads/{id}',
      'DELETE /uploads/{id}',
      'GET /capacity',
      'GET /health',
      'POST /session',
      'DELETE /session',
    ]) {
      assert.ok(listed.includes(operation), operation);
    }
  });

  it('lists only operations that are served, closed without a token exactly where it says so', async () => {
    for (const [path, method] of operations()) {
      const url = `${api.server.url}${path.replace('{id}', 'job_aaaaaaaaaaaa').replace('{name}', 'x')}`;
      const { status } = await fetch(url, { method: method.toUpperCase() });
      const operation = document.paths[path]?.[method];
      assert.notEqual(status, 405, `${method} ${path}`);
      assert.ok(
        Object.keys(operation?.responses ?? {}).includes(String(status)),
        `${method} ${path}: ${status}`,
      );
      assert.equal(status === 401, (operation?.security ?? []).length > 0, `${method} ${path}: ${status}`);
    }
  });

  it('describes the request of a job by the schema that checks it', () => {
    const text = JSON.stringify(document.paths['/jobs']?.['post']);
    for (const field of [
      'client_job_id',
      'command',
      'git_branch',
      'memory_gb',
      'when_busy',
      'max_queue_seconds',
    ]) {
      assert.ok(text.includes(`"${field}"`), field);
    }
    assert.ok(text.includes('"additionalProperties":false'));
  });

  it('has examples of both types of job that are requests to take', () => {
    const body = document.paths['/jobs']?.['post']?.requestBody?.content['application/json'];
    const examples = Object.values(body?.examples ?? {}).map(({ value }) => parseCreateJob(value).type);
    assert.deepEqual(examples, ['worker', 'agent']);
  });

  it('refers to nothing that it lacks', () => {
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
      assert.ok(name !== undefined && name in document.components.schemas, name);
    }
  });

  it('is a page to read as well, which loads nothing from elsewhere', async () => {
    const answer = await fetch(`${api.server.url}/docs`);
    assert.match(answer.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(answer.headers.get('content-security-policy') ?? '', /default-src 'none'/);
    const html = await answer.text();
    for (const [path] of operations()) assert.ok(html.includes(path), path);
    assert.ok(!/(src|href)="(https?:)?\/\//.test(html));
  });

  describe('as a page', () => {
    type Listener = (event: { target: unknown; preventDefault: () => void }) => unknown;

    /** Runs the script of the page as a browser would, with one form filled in. @returns what the form shows then */
    async function trying(id: string, fields: Record<string, string>, token: string): Promise<string> {
      const answer = await fetch(`${api.server.url}/docs`);
      const html = await answer.text();
      const script = /<script>([\s\S]*)<\/script>/.exec(html)?.[1] ?? '';
      const hash = createHash('sha256').update(script).digest('base64');
      const policy = answer.headers.get('content-security-policy') ?? '';
      assert.ok(
        policy.includes(`script-src 'sha256-${hash}'`) && policy.includes("connect-src 'self'"),
        policy,
      );

      const section = html.slice(html.indexOf(`<h3 id="${id}">`));
      const form =
        /<form data-method="(\w+)" data-path="([^"]+)" data-type="([^"]*)">([\s\S]*?)<\/form>/.exec(section);
      assert.ok(form);
      const [, method, path, type, inputs = ''] = form;
      for (const name of Object.keys(fields)) assert.ok(inputs.includes(`name="${name}"`), name);
      const output = { textContent: '' };
      const listeners: Record<string, Listener> = {};
      const globals = createContext({
        document: {
          addEventListener: (name: string, listener: Listener) => void (listeners[name] = listener),
          querySelector: () => ({ value: token }),
        },
        FormData: class {
          *[Symbol.iterator](): Iterator<[string, string]> {
            yield* Object.entries(fields);
          }
        },
        fetch: (target: string, init: RequestInit) => fetch(new URL(target, api.server.url), init),
        File,
        Headers,
        URLSearchParams,
        AbortController,
        TextDecoder,
      });
      runInContext(script, globals);
      const target = { dataset: { method, path, type }, querySelector: () => output };
      await listeners['submit']?.({ target, preventDefault: () => undefined });
      return output.textContent;
    }

    it('sends a body with the token, and shows the answer', async () => {
      const request = { 'body:json': JSON.stringify({ type: 'worker', command: 'true' }) };
      const shown = await trying('createJob', request, api.token);
      assert.match(shown, /^201 Created\n/);
      assert.match(shown, /"job_id": "job_/);
    });

    it('sends what belongs into the path and the query', async () => {
      const id = await api.caller.submit('true', { labels: { of: 'docs' } });
      assert.match(await trying('getJob', { 'path:id': id }, api.token), new RegExp(`"id": "${id}"`));
      const none = await trying('listJobs', { 'query:label': 'of:nobody', 'query:limit': '' }, api.token);
      assert.match(none, /"total": 0/);
      assert.match(
        await trying('getJob', { 'path:id': '../health' }, api.token),
        /^404 .*\n[\s\S]*job_not_found/,
      );
    });

    it('shows a refusal without a token', async () => {
      assert.match(await trying('listJobs', {}, ''), /^401 [\s\S]*missing_authorization/);
    });
  });
});
