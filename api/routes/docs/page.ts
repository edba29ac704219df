import { type ErrorCode, ERRORS } from '../../../src/errors.ts';
import { bodyOf, documentPath, type Operation } from '../../operation.ts';
import { escapeHtml, page } from './html.ts';
import { errorCodesOf } from './openapi.ts';
import { SCRIPT_ELEMENT, TOKEN_FIELD, tryForm } from './try.ts';

/** Text with `code` between backticks → HTML. */
const prose = (text: string): string => escapeHtml(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');

/** The operations as one plain page for people. */
export function docsPage(operations: readonly Operation[]): string {
  const sections = [...Map.groupBy(operations, (operation) => operation.tag)].map(
    ([tag, group]) => `<h2>${escapeHtml(tag)}</h2>${group.map(section).join('')}`,
  );
  return page(
    'Flashpods API',
    `<h1>Flashpods API</h1><p>The whole contract, with every field: <a href="/openapi.json"><code>/openapi.json</code></a> (OpenAPI 3.1).
     Requests carry <code>Authorization: Bearer &lt;token&gt;</code> unless they say otherwise. The queues: <a href="/queues"><code>/queues</code></a>.</p>
     ${TOKEN_FIELD}${sections.join('')}<h2>errors</h2>${errorTable()}${SCRIPT_ELEMENT}`,
  );
}

function section(operation: Operation): string {
  const body = bodyOf(operation);
  const rows: (readonly [string, string])[] = [
    ...fields(operation.query, 'query'),
    ...(body
      ? ([['body', `<code>${body.type}</code>${body.schema ? `: ${fieldNames(body.schema)}` : ''}`]] as const)
      : []),
    ...Object.values(operation.body && 'json' in operation.body ? (operation.body.examples ?? {}) : {}).map(
      ({ summary, value }): [string, string] => [
        'example',
        `${prose(summary)}<pre>${escapeHtml(JSON.stringify(value, null, 2))}</pre>`,
      ],
    ),
    ...Object.entries(operation.answers).map(([status, { description }]): [string, string] => [
      status,
      prose(description),
    ]),
    [
      'errors',
      [...errorCodesOf(operation)].map((code) => `<a href="#${code}"><code>${code}</code></a>`).join(' '),
    ],
  ];
  const scope = operation.scope === 'public' || operation.scope === 'body' ? 'no token' : operation.scope;
  return (
    `<h3 id="${operation.id}"><code>${operation.method.toUpperCase()} ${escapeHtml(documentPath(operation.path))}</code></h3>` +
    `<p>${prose(operation.summary)}. <small>${escapeHtml(scope)}</small>${operation.description ? `<br>${prose(operation.description)}` : ''}</p>` +
    `<table>${rows.map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${value}</td></tr>`).join('')}</table>${tryForm(operation)}`
  );
}

function fields(schema: Operation['query'], kind: string): [string, string][] {
  return Object.entries(schema?.shape ?? {}).map(([name, field]) => {
    const { description } = field as { description?: string };
    return [kind, `<code>${escapeHtml(name)}</code> ${prose(description ?? '')}`];
  });
}

const fieldNames = (schema: unknown): string =>
  schema !== null && typeof schema === 'object' && 'shape' in schema
    ? Object.keys(schema.shape as object)
        .map((name) => `<code>${escapeHtml(name)}</code>`)
        .join(' ')
    : '';

function errorTable(): string {
  const rows = (Object.keys(ERRORS) as ErrorCode[])
    .filter((code) => ERRORS[code].status > 0)
    .map((code) => {
      const { status, meaning, advice } = ERRORS[code];
      return `<tr id="${code}"><th><code>${code}</code></th><td>${status}</td><td>${prose(meaning)} ${prose(advice)}</td></tr>`;
    });
  return `<table>${rows.join('')}</table>`;
}
