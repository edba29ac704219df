import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type RunningApi, startApi } from './running-api.ts';

interface Document {
  openapi: string;
  paths: Record<
    string,
    Record<string, { operationId: string; security: unknown[]; responses: Record<string, unknown> }>
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

  it('lists only operations that are served, closed to whoever has no token exactly where it says so', async () => {
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
});
