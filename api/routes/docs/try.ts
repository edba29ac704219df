/** The part of the page that sends requests: a form for every operation, and the script behind them. */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import { bodyOf, documentPath, type Operation } from '../../operation.ts';
import { escapeHtml } from './html.ts';

/** The most of an answer that is shown, characters. Streams without end stop there or when the reader has enough. */
const SHOWN = 100_000;

/** In the browser. The token stays in the field: it is kept nowhere, and goes to this server only. */
const SCRIPT = `
document.addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const output = form.querySelector('pre');
  form.stop?.abort();
  const stop = (form.stop = new AbortController());
  output.textContent = 'waiting';
  try {
    const fields = [...new FormData(form)].filter(([, value]) => value !== '');
    const of = (place) => fields.filter(([name]) => name.startsWith(place + ':')).map(([name, value]) => [name.slice(place.length + 1), value]);
    let path = form.dataset.path;
    for (const [name, value] of of('path')) path = path.replace('{' + name + '}', encodeURIComponent(value));
    const query = new URLSearchParams(of('query')).toString();
    const headers = new Headers(of('header'));
    const token = document.querySelector('#token').value.trim();
    if (token !== '') headers.set('Authorization', 'Bearer ' + token);
    const [body] = of('body').map(([, value]) => value);
    if (body !== undefined && !(body instanceof File && body.size === 0)) headers.set('Content-Type', form.dataset.type);
    const answer = await fetch(path + (query === '' ? '' : '?' + query), {
      method: form.dataset.method, headers, signal: stop.signal, credentials: 'omit',
      ...(headers.has('Content-Type') ? { body } : {}),
    });
    const head = answer.status + ' ' + answer.statusText + '\\n' + [...answer.headers].map((pair) => pair.join(': ')).join('\\n') + '\\n\\n';
    output.textContent = head;
    let text = '';
    const decoder = new TextDecoder();
    for (const reader = answer.body?.getReader(); reader; ) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      output.textContent = head + text.slice(0, ${SHOWN});
      if (text.length > ${SHOWN}) { stop.abort(); break; }
    }
    if (answer.headers.get('Content-Type')?.includes('json')) {
      try { output.textContent = head + JSON.stringify(JSON.parse(text), null, 2); } catch {}
    }
  } catch (error) {
    if (error.name !== 'AbortError') output.textContent = String(error);
  }
});
document.addEventListener('reset', (event) => {
  event.target.stop?.abort();
  event.target.querySelector('pre').textContent = '';
});`;

export const SCRIPT_HASH = `sha256-${createHash('sha256').update(SCRIPT).digest('base64')}`;
export const SCRIPT_ELEMENT = `<script>${SCRIPT}</script>`;

export const TOKEN_FIELD =
  '<p><label>Token, to try things here (kept nowhere) <input id="token" type="password" autocomplete="off"></label></p>';

/** A form that sends one request of the operation and shows its answer as it comes. */
export function tryForm(operation: Operation): string {
  const body = bodyOf(operation);
  const inputs = [
    ...textFields(operation.params, 'path', true),
    ...textFields(operation.query, 'query', false),
    ...textFields(operation.headers, 'header', false),
    ...(body ? [bodyField(body)] : []),
  ];
  return (
    `<details><summary>try</summary><form data-method="${operation.method.toUpperCase()}" ` +
    `data-path="${escapeHtml(documentPath(operation.path))}" data-type="${body?.type ?? ''}">${inputs.join('')}` +
    '<button>Send</button> <button type="reset">Stop and clear</button><pre></pre></form></details>'
  );
}

const textFields = (schema: z.ZodObject | undefined, place: string, required: boolean): string[] =>
  Object.keys(schema?.shape ?? {}).map(
    (name) =>
      `<label>${escapeHtml(name)} <input name="${place}:${escapeHtml(name)}"${required ? ' required' : ''}></label>`,
  );

const bodyField = ({ type, schema }: NonNullable<ReturnType<typeof bodyOf>>): string =>
  `<label>${type} ${
    schema === null
      ? '<input type="file" name="body:file">'
      : '<textarea name="body:json" rows="4" spellcheck="false"></textarea>'
  }</label>`;
