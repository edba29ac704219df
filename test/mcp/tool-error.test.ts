import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { adviceFor, CLIENT_CODES, ClientError } from '../../src/client/client-error.ts';
import { ERRORS, FlashpodsError } from '../../src/errors.ts';
import { toolError } from '../../src/mcp/tool-error.ts';

/** What no tool asks for. */
const NEVER_ASKED = [
  'cache_not_found',
  'host_not_found',
  'host_in_use',
  'method_not_allowed',
  'unsupported_media_type',
];

const textOf = (error: unknown): string => {
  const [block] = toolError(error).content;
  return block?.type === 'text' ? block.text : '';
};

describe('errors of tools', () => {
  it('advise what an agent can do: neither HTTP nor options of the command line', () => {
    const answered = Object.entries(ERRORS).filter(([, { status }]) => status > 0);
    const codes = [...answered.map(([code]) => code), ...Object.keys(CLIENT_CODES)];
    const wrong = codes
      .filter((code) => !NEVER_ASKED.includes(code))
      .map((code) => `${code}: ${adviceFor(code, 'mcp')}`)
      .filter((advice) =>
        /\b(GET|POST|PUT|DELETE) \/|Authorization:|Content-Type|\s`?--\w|header/.test(advice),
      );
    assert.deepEqual(wrong, []);
  });

  it('keep the advice that was given for that very error, and the details', () => {
    assert.equal(
      textOf(new ClientError('poll_timeout', 'Not yet.', { advice: 'Call it with x.' })),
      'poll_timeout: Not yet.\nWhat to do: Call it with x.',
    );
    assert.match(textOf(new ClientError('invalid_arguments', 'It is wrong.')), /What to do: Correct the arg/);
    assert.match(
      textOf(new FlashpodsError('idempotency_key_reused', undefined, { details: { job_id: 'job_a' } })),
      /\nDetails: \{"job_id":"job_a"\}$/,
    );
  });
});
