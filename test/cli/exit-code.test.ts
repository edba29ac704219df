import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { exitCodeOfError, exitCodeOfJob } from '../../src/cli/exit-code.ts';
import { ClientError } from '../../src/client/client-error.ts';
import { ACTIVE_STATES } from '../../src/jobs/states.ts';

describe('exit codes', () => {
  it('are the job’s own where it has one', () => {
    for (const code of [1, 2, 126, 127, 137, 143])
      assert.equal(exitCodeOfJob({ status: 'failed', exit_code: code }), code);
    assert.equal(exitCodeOfJob({ status: 'completed', exit_code: 0 }), 0);
    assert.equal(exitCodeOfJob({ status: 'cleaned', exit_code: 3 }), 3);
  });

  it('tell how a job ended that has none', () => {
    assert.equal(exitCodeOfJob({ status: 'failed', exit_code: null, error: 'image_pull_failed' }), 125);
    assert.equal(exitCodeOfJob({ status: 'failed', exit_code: 0, error: 'artifact_copy_failed' }), 125);
    assert.equal(exitCodeOfJob({ status: 'timed_out', exit_code: 143 }), 124);
    assert.equal(exitCodeOfJob({ status: 'cancelled', exit_code: 137 }), 130);
    assert.equal(exitCodeOfJob({ status: 'cleaned', exit_code: null }), 125);
  });

  it('are none for a job that has not ended', () => {
    for (const status of ACTIVE_STATES) assert.throws(() => exitCodeOfJob({ status }));
  });

  it('sort errors', () => {
    const answered = (status: number): number => exitCodeOfError(new ClientError('x', '', { status }));
    assert.deepEqual(
      [400, 401, 403, 404, 409, 410, 422, 429, 500, 503, 507].map(answered),
      [2, 5, 5, 4, 1, 1, 1, 1, 1, 1, 1],
    );
    const local = (code: string): number => exitCodeOfError(new ClientError(code, ''));
    assert.deepEqual(
      [
        'not_reachable',
        'poll_timeout',
        'interrupted',
        'wrong_settings',
        'invalid_arguments',
        'upload_failed',
      ].map(local),
      [3, 124, 130, 2, 2, 1],
    );
    assert.equal(exitCodeOfError(new Error('a mistake of ours')), 1);
  });

  it('are 125 for what fails beside the job, of commands that pass its code on', () => {
    const codes = ['not_reachable', 'invalid_arguments', 'upload_failed', 'poll_timeout', 'interrupted'];
    assert.deepEqual(
      codes.map((code) => exitCodeOfError(new ClientError(code, ''), true)),
      [125, 125, 125, 124, 130],
    );
    assert.equal(exitCodeOfError(new ClientError('job_not_found', '', { status: 404 }), true), 125);
    assert.equal(exitCodeOfError(new Error('a mistake of ours'), true), 125);
  });
});
