import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { describeExit, outcomeOf } from '../../processors/outcome.ts';
import { isErrorCode } from '../../src/errors.ts';
import { endStateOf } from '../../src/jobs/end-states.ts';
import { ENDING_REASONS } from '../../src/jobs/states.ts';

const clean = { oomKilled: false, diskFull: false, pidsExhausted: false };

describe('the outcome of a job', () => {
  it('is completed for exit code 0 only', () => {
    for (let code = 0; code <= 255; code += 1) {
      assert.equal(outcomeOf('exit', code, clean).to, code === 0 ? 'completed' : 'failed', String(code));
    }
    assert.equal(outcomeOf('exit', null, clean).to, 'failed');
  });

  it('is never completed for any other reason, regardless of the exit code', () => {
    for (const reason of ENDING_REASONS)
      if (reason !== 'exit') assert.notEqual(outcomeOf(reason, 0, clean).to, 'completed', reason);
  });

  it('names what the exit codes of a shell mean', () => {
    assert.match(describeExit(126), /not executable/);
    assert.match(describeExit(127), /not found/);
    assert.match(describeExit(137), /SIGKILL/);
    assert.match(describeExit(143), /SIGTERM/);
    assert.match(describeExit(3), /code 3/);
    assert.match(describeExit(255), /code 255/);
  });

  it('names the cap that ended the command', () => {
    assert.equal(outcomeOf('exit', 137, { ...clean, oomKilled: true }).error, 'oom_killed');
    assert.equal(outcomeOf('exit', 1, { ...clean, diskFull: true }).error, 'disk_limit');
    assert.equal(outcomeOf('exit', 2, { ...clean, pidsExhausted: true }).error, 'pids_limit');
    for (const exitCode of [0, 3, null]) {
      const { to, error } = outcomeOf('exit', exitCode, { ...clean, diskFull: true, diskError: true });
      assert.deepEqual([to, error], ['failed', 'disk_error']);
    }
    assert.match(outcomeOf('cancel', 0, { ...clean, diskError: true }).warnings.join(), /did not take all/);
  });

  it('is completed with a warning when only a child was killed for memory', () => {
    const outcome = outcomeOf('exit', 0, { ...clean, oomKilled: true });
    assert.equal(outcome.to, 'completed');
    assert.equal(outcome.warnings.length, 1);
  });

  it('is failed when the artifacts of a successful command could not be collected', () => {
    const outcome = outcomeOf('exit', 0, clean, { code: 'artifact_copy_disk_full', message: 'full' });
    assert.deepEqual([outcome.to, outcome.error], ['failed', 'artifact_copy_disk_full']);
  });

  it('has a code of the catalogue whenever it is no success and no cancellation, also beside a sentence', () => {
    const verdicts = [clean, { ...clean, oomKilled: true }, { ...clean, diskFull: true }];
    const failure = { code: 'container_error', message: 'Podman did not answer.' } as const;
    for (const reason of ENDING_REASONS)
      for (const exitCode of [null, 0, 1, 137])
        for (const verdict of verdicts)
          for (const found of [null, failure]) {
            const { to, errorCode } = outcomeOf(reason, exitCode, verdict, found);
            assert.equal(
              isErrorCode(errorCode),
              to === 'failed' || to === 'timed_out',
              `${reason} ${exitCode}`,
            );
            if (errorCode !== null) assert.equal(to, endStateOf(errorCode));
          }
    assert.equal(outcomeOf('exit', 3, clean).errorCode, 'command_failed');
    assert.equal(outcomeOf('timeout', 143, clean).errorCode, 'job_timed_out');
  });

  it('of a timeout carries the sentence that the contract fixes', () => {
    assert.equal(outcomeOf('timeout', 143, clean).error, 'Job exceeded timeout limit');
  });
});
