import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { finished } from './console.ts';

describe('flashpods token', () => {
  let api: RunningApi;
  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  const as = (token: string, ...args: string[]) =>
    finished(args, { env: { FLASHPODS_URL: api.server.url, FLASHPODS_API_TOKEN: token } });
  const flashpods = (...args: string[]) => as(api.token, ...args);

  it('prints the token it makes to standard output, alone, and that token works', async () => {
    const { stdout, stderr, exitCode } = await flashpods('token', 'create', 'laptop', '--owner', 'alice');
    assert.equal(exitCode, 0);
    assert.match(stdout, /^fp_[\w-]{43}\n$/);
    assert.match(stderr, /laptop of alice may jobs:read, jobs:write, uploads:write/);
    assert.ok(!stderr.includes('fp_'));
    const listed = await as(stdout.trim(), 'ps', '-a', '--json');
    assert.deepEqual([listed.exitCode, JSON.parse(listed.stdout)], [0, { jobs: [] }]);
    const refused = await as(stdout.trim(), 'token', 'list');
    assert.equal(refused.exitCode, 5);
    assert.match(refused.stderr, /insufficient_scope/);
  });

  it('takes scopes with commas or repeated, and times from now or by date', async () => {
    const scopes = ['--scope', 'jobs:read,jobs:write', '--scope', 'admin'];
    const { stdout } = await flashpods(
      ...['token', 'create', 'x', '--owner', 'o', ...scopes, '--expires', '90d', '--json'],
    );
    const made = JSON.parse(stdout) as { token: string; scopes: string[]; expires_at: string };
    assert.deepEqual(made.scopes, ['jobs:read', 'jobs:write', 'admin']);
    const days = (Date.parse(made.expires_at) - Date.now()) / 86_400_000;
    assert.ok(days > 89.9 && days <= 90, String(days));
    const dated = await flashpods(
      'token',
      'create',
      'y',
      '--owner',
      'o',
      '--expires',
      '2999-12-31',
      '--json',
    );
    assert.equal((JSON.parse(dated.stdout) as typeof made).expires_at, '2999-12-31T00:00:00.000Z');
    for (const wrong of ['soon', '0d', '-1d', '2001-01-01', '90', '2999-13-41']) {
      const { exitCode, stderr } = await flashpods(
        'token',
        'create',
        'z',
        '--owner',
        'o',
        '--expires',
        wrong,
      );
      assert.equal(exitCode, 2, wrong);
      assert.match(stderr, /--expires/, wrong);
    }
    const unknown = await flashpods('token', 'create', 'z', '--owner', 'o', '--scope', 'root');
    assert.equal(unknown.exitCode, 2);
    assert.match(unknown.stderr, /invalid_request.*scopes/);
  });

  it('lists tokens, and revokes them', async () => {
    const { stdout: token } = await flashpods(
      'token',
      'create',
      'doomed',
      '--owner',
      'bob',
      '--scope',
      'jobs:read',
    );
    const { stdout } = await flashpods('token', 'list');
    assert.match(stdout, /^NAME +OWNER +SCOPES +CREATED +EXPIRES\n/);
    assert.match(stdout, /^doomed +bob +jobs:read +\d{4}-\d\d-\d\d +never$/m);
    assert.ok(!stdout.includes('fp_'));
    assert.deepEqual(await flashpods('token', 'revoke', 'doomed'), {
      stdout: 'doomed revoked\n',
      stderr: '',
      exitCode: 0,
    });
    assert.equal((await as(token.trim(), 'ps')).exitCode, 5);
    assert.ok(!(await flashpods('token', 'list')).stdout.includes('doomed'));
    const again = await flashpods('token', 'revoke', 'doomed');
    assert.equal(again.exitCode, 4);
    assert.match(again.stderr, /no token "doomed".*\n.*token list/);
  });

  it('wants an owner', async () => {
    const { exitCode, stderr } = await flashpods('token', 'create', 'x');
    assert.equal(exitCode, 2);
    assert.match(stderr, /--owner/);
  });
});
