import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'mocha';
import { CLIENT_CODES } from '../../src/client/client-error.ts';
import { isErrorCode } from '../../src/errors.ts';

describe('the codes of the client', () => {
  it('are those that docs/cli.md lists, in both directions', async () => {
    const page = await readFile(new URL('../../docs/cli.md', import.meta.url), 'utf8');
    const section = page.slice(page.indexOf('## Errors'), page.indexOf('## Retries'));
    const listed = [...section.matchAll(/^\| `([a-z_]+)`/gm)].map(([, code]) => code);
    assert.deepEqual(listed.sort(), Object.keys(CLIENT_CODES).sort());
  });

  it('are never a code of the server', () => {
    assert.deepEqual(Object.keys(CLIENT_CODES).filter(isErrorCode), []);
  });
});
