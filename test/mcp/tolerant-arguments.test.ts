import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { wholeSchema } from '../../src/mcp/plain-schema.ts';
import { takeArguments } from '../../src/mcp/tolerant-arguments.ts';

const input = z.strictObject({
  job_id: z.string().optional(),
  tail: z.int().min(1).max(100).optional(),
  ratio: z.number().optional(),
  merge: z.boolean().optional(),
  status: z.enum(['all', 'running']).optional(),
  packages: z.array(z.string()).optional(),
  env: z.record(z.string(), z.string()).optional(),
  files: z.strictObject({ local_path: z.string().optional(), git: z.boolean().optional() }).optional(),
});
const schema = wholeSchema(input);

describe('arguments as models send them', () => {
  const cases: readonly (readonly [given: unknown, taken: unknown, notes?: readonly string[]])[] = [
    [null, {}],
    [
      { tail: ' 5 ', ratio: '1e3', merge: 'True' },
      { tail: 5, ratio: 1_000, merge: true },
    ],
    [{ tail: null, merge: 'null', packages: '', status: '', env: 'None' }, {}],
    [{ tail: '500' }, { tail: 100 }, ['tail 500 was lowered to 100.']],
    [{ tail: 2.5 }, { tail: 3 }, ['tail 2.5 is not whole: 3 was taken.']],
    [
      { job_id: 7, status: 'RUNNING', merge: 0 },
      { job_id: '7', status: 'running', merge: false },
    ],
    [{ packages: '["a","b"]' }, { packages: ['a', 'b'] }],
    [{ packages: 'a' }, { packages: ['a'] }],
    [{ packages: ['a', null, 3] }, { packages: ['a', '3'] }],
    [{ env: '{"A":1}' }, { env: { A: '1' } }],
    [{ env: ['A=1', 'B=x=y'] }, { env: { A: '1', B: 'x=y' } }],
    [{ files: '/src' }, { files: { local_path: '/src' } }],
    [{ files: true }, { files: {} }],
    [{ files: { localPath: '/src', git: 'no' } }, { files: { local_path: '/src', git: false } }],
    [{ 'job-id': 'x', JobID: 'y' }, { job_id: 'y' }],
    [
      { cwd: 'x', files: { local_path: '/', depth: 1 } },
      { files: { local_path: '/' } },
      ['There is no argument "cwd": it was ignored.', 'There is no argument "files.depth": it was ignored.'],
    ],
  ];
  for (const [given, expected, notes = []] of cases) {
    it(`are understood: ${JSON.stringify(given)}`, () => {
      const { args, notes: told } = takeArguments(schema, given);
      assert.deepEqual([args, told], [expected, notes]);
    });
  }

  it('stay as they are where they fit, and where nobody knows what is meant', () => {
    for (const wrong of [{ tail: 'many' }, { tail: 0 }, { merge: 'perhaps' }, { env: 'A' }, { job_id: {} }]) {
      assert.deepEqual(takeArguments(schema, wrong), { args: wrong, notes: [] });
      assert.equal(input.safeParse(wrong).success, false);
    }
    const values = fc.record(
      {
        job_id: fc.string(),
        tail: fc.integer({ min: 1, max: 100 }),
        merge: fc.boolean(),
        packages: fc.array(fc.string()),
        env: fc.dictionary(fc.string(), fc.string()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(values, (given) => {
        const plain = JSON.parse(JSON.stringify(given)) as unknown;
        assert.deepEqual(takeArguments(schema, plain), { args: plain, notes: [] });
      }),
    );
    fc.assert(fc.property(fc.jsonValue(), (given) => void takeArguments(schema, given)));
  });
});
