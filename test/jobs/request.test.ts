import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { FlashpodsError } from '../../src/errors.ts';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import type { JobSpec } from '../../src/jobs/description/types.ts';
import { hashSpec, parseCreateJob, toJobSpec } from '../../src/jobs/request.ts';
import { LIMITS } from '../support/jobs.ts';

const refusal = (body: unknown): FlashpodsError => {
  try {
    parseCreateJob(body);
  } catch (error) {
    assert.ok(error instanceof FlashpodsError, String(error));
    return error;
  }
  throw new Error(`accepted ${JSON.stringify(body)}`);
};
const worker = (more: Record<string, unknown>): Record<string, unknown> => ({
  type: 'worker',
  command: 'true',
  ...more,
});
const agent = (more: Record<string, unknown>): Record<string, unknown> => ({
  type: 'agent',
  task: 'mend it',
  git_branch: 'main',
  ...more,
});

describe('a request for a job', () => {
  it('is told of every field at once that its type needs and has not, or has and must not', () => {
    assert.throws(
      () => parseCreateJob({ type: 'agent', command: 'x', writable: true }),
      (error) => {
        assert.ok(error instanceof FlashpodsError);
        const { fields } = error.details as { fields: { field: string }[] };
        assert.deepEqual(
          fields.map(({ field }) => field),
          ['command', 'task', 'git_branch', 'writable'],
        );
        return /`task` is missing; `git_branch` is missing/.test(error.message);
      },
    );
  });

  const cases: [what: string, body: unknown, code: string, field: string][] = [
    ['no type', { command: 'true' }, 'invalid_job_type', 'type'],
    ['an unknown type', { type: 'robot', command: 'true' }, 'invalid_job_type', 'type'],
    ['no command', { type: 'worker' }, 'missing_command', 'command'],
    ['an empty command', worker({ command: '' }), 'missing_command', 'command'],
    ['a command of 10,001 bytes', worker({ command: 'a'.repeat(10_001) }), 'invalid_request', 'command'],
    [
      'a command of 10,000 characters but more bytes',
      worker({ command: 'é'.repeat(5_001) }),
      'invalid_request',
      'command',
    ],
    ['a NUL byte in the command', worker({ command: 'a\0b' }), 'invalid_request', 'command'],
    ['a lone surrogate', worker({ command: 'a\ud800' }), 'invalid_request', 'command'],
    ['no task', { type: 'agent', git_branch: 'b' }, 'missing_task', 'task'],
    ['no branch', { type: 'agent', task: 't' }, 'missing_git_branch', 'git_branch'],
    ['a task of 100,001 bytes', agent({ task: 'é'.repeat(50_000) + 'x' }), 'invalid_request', 'task'],
    ['a NUL byte in the task', agent({ task: 'a\0b' }), 'invalid_request', 'task'],
    ['a context of 100,001 bytes', agent({ context: 'x'.repeat(100_001) }), 'invalid_request', 'context'],
    ['a lone surrogate in the context', agent({ context: '\udfff' }), 'invalid_request', 'context'],
    ['an empty branch', agent({ git_branch: '' }), 'missing_git_branch', 'git_branch'],
    ['an option as branch', agent({ git_branch: '--force' }), 'invalid_request', 'git_branch'],
    ['a branch that git refuses', agent({ git_branch: 'a..b' }), 'invalid_request', 'git_branch'],
    ['a repository on the disk', agent({ git_url: 'file:///etc' }), 'invalid_request', 'git_url'],
    ['a repository with a password', agent({ git_url: 'https://u:p@h/r' }), 'invalid_request', 'git_url'],
    ['a command for an agent', agent({ command: 'true' }), 'invalid_request', 'command'],
    ['cpus 0', worker({ cpus: 0 }), 'invalid_cpus', 'cpus'],
    ['cpus 1.5', worker({ cpus: 1.5 }), 'invalid_cpus', 'cpus'],
    ['cpus as text', worker({ cpus: '2' }), 'invalid_cpus', 'cpus'],
    ['memory -1', worker({ memory_gb: -1 }), 'invalid_memory', 'memory_gb'],
    ['timeout null', worker({ timeout_minutes: null }), 'invalid_timeout', 'timeout_minutes'],
    [
      'a UUID of version 1',
      worker({ client_job_id: '2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d' }),
      'invalid_client_job_id',
      'client_job_id',
    ],
    ['an image with a space', worker({ image: 'a b' }), 'invalid_image', 'image'],
    ['an option as image', worker({ image: '--privileged' }), 'invalid_image', 'image'],
    ['an image of 256 characters', worker({ image: 'a'.repeat(256) }), 'invalid_image', 'image'],
    ['an unknown field', worker({ comand: 'x' }), 'invalid_request', 'comand'],
    ['a variable with a bad name', worker({ env: { 'A=B': 'x' } }), 'invalid_request', 'env.A=B'],
    ['a variable of ours', worker({ env: { FLASHPODS_JOB_ID: 'x' } }), 'invalid_request', 'env'],
    ['a field of the other type', worker({ task: 'x' }), 'invalid_request', 'task'],
    ['no object', [], 'invalid_request', ''],
  ];
  for (const [what, body, code, field] of cases) {
    it(`with ${what} is refused with ${code}, naming the field`, () => {
      const error = refusal(body);
      assert.equal(error.code, code);
      assert.equal(error.details['field'], field);
    });
  }

  it('gets the defaults of its type, and values over the maximum are lowered', () => {
    const spec = toJobSpec(parseCreateJob(worker({ cpus: 99, timeout_minutes: 500 })), LIMITS);
    assert.deepEqual([spec.cpus, spec.memoryGb, spec.timeoutMinutes], [8, 4, 120]);
    const ofAgent = (more: Record<string, unknown>): number[] => {
      const { cpus, memoryGb, timeoutMinutes } = toJobSpec(parseCreateJob(agent(more)), LIMITS);
      return [cpus, memoryGb, timeoutMinutes];
    };
    assert.deepEqual(ofAgent({}), [2, 4, 60]);
    assert.deepEqual(ofAgent({ cpus: 8, memory_gb: 16, timeout_minutes: 121 }), [4, 8, 120]);
  });

  it('goes by settings, of all types or of its own', () => {
    const images = { workerImage: 'a', agentImage: 'b' };
    const limits = jobLimits({
      ...images,
      maxCpus: 32,
      agentMaxCpus: 16,
      defaultMemoryGb: 6,
      workerMaxMemoryGb: 5,
    });
    assert.deepEqual(
      [limits.worker.cpus, limits.agent.cpus],
      [
        { default: 2, max: 32 },
        { default: 2, max: 16 },
      ],
    );
    // A default above its maximum is lowered to it.
    assert.deepEqual(
      [limits.worker.memoryGb, limits.agent.memoryGb],
      [
        { default: 5, max: 5 },
        { default: 6, max: 8 },
      ],
    );
    assert.equal(toJobSpec(parseCreateJob(worker({ cpus: 99 })), limits).cpus, 32);
  });

  it('hashes the same after defaults and clamping, with its fields in any order', () => {
    const a = toJobSpec(parseCreateJob(worker({ cpus: 8, env: { A: '1', B: '2' } })), LIMITS);
    const b = toJobSpec(
      parseCreateJob({ env: { B: '2', A: '1' }, cpus: 64, command: 'true', type: 'worker', priority: 5 }),
      LIMITS,
    );
    assert.equal(hashSpec(a), hashSpec(b));
    assert.notEqual(hashSpec(a), hashSpec({ ...a, command: 'false' } as JobSpec));
  });

  it('hashes as it did before fields came: rows keep the hash of their request', () => {
    const hashes = {
      '2b33ebf01464794928cdb7c90e22e2b18f9703e58e60db7e88cd603efb682a40': {
        type: 'worker',
        command: 'make test',
      },
      cbec76245cb34928bb9941fe3bccb691808924730f42584492d280ae12ae5321: {
        type: 'worker',
        command: 'make',
        env: { B: '2', A: '1' },
        cpus: 64,
        labels: { suite: 'nightly' },
        max_queue_seconds: 60,
        network: 'none',
        when_busy: 'reject',
        priority: 1,
        files_id: 'upload_abcdefghijkl',
        image: 'node:24',
      },
      '8f97caceff0ffd410c6be1e05f0b578fbe6972b2bc44d177b1b791570bb6941e': {
        type: 'agent',
        task: 'mend it',
        git_branch: 'main',
        git_url: 'https://example.com/r.git',
        context: 'c',
        memory_gb: 3,
      },
    };
    const hashOf = (request: unknown): string => hashSpec(toJobSpec(parseCreateJob(request), LIMITS));
    for (const [hash, request] of Object.entries(hashes)) assert.equal(hashOf(request), hash);
    assert.equal(hashOf(worker({ writable: false })), hashOf(worker({})));
    assert.notEqual(hashOf(worker({ writable: true })), hashOf(worker({})));
    assert.equal(hashOf(worker({ artifacts: [] })), hashOf(worker({})));
    assert.notEqual(hashOf(worker({ artifacts: ['dist'] })), hashOf(worker({})));
  });

  it('names the pattern of artifacts that can be none, and what to do', () => {
    for (const artifacts of [
      ['dist/*.whl', '/work/build/out', '/work', './a', '/artifacts/x', '**/{a,b}.xml'],
    ])
      parseCreateJob(worker({ artifacts }));
    for (const [pattern, why] of [
      ['/etc/passwd', /"\/etc\/passwd" must be relative to \/work or begin with \/work\/: copy/],
      ['/workshop/x', /must be relative to \/work/],
      ['../x', /must not have a segment \.\./],
      ['/work/../etc', /must not have a segment \.\./],
      ['', /must name something/],
      ['!a', /must not begin with !/],
    ] as const) {
      const error = refusal(worker({ artifacts: ['fine', pattern] }));
      assert.equal(error.details['field'], 'artifacts');
      assert.match(error.message, why);
    }
  });

  it('of any JSON at all is accepted or refused with a code, never with another error', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          fc.record({ type: fc.constant('worker'), command: fc.jsonValue(), cpus: fc.jsonValue() }),
        ),
        (body) => {
          try {
            parseCreateJob(body);
          } catch (error) {
            assert.ok(error instanceof FlashpodsError && error.status === 400, String(error));
          }
        },
      ),
    );
  });
});
