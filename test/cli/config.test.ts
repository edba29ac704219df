import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, describe, it } from 'mocha';
import { showConfig } from '../../src/cli/commands/config.ts';
import { Output } from '../../src/cli/terminal.ts';
import { loadClientEnvironment } from '../../src/client/environment.ts';
import { ConfigError, type Flags, loadConfig, variableOf } from '../../src/config.ts';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import { settingsSchema } from '../../src/settings.ts';

interface Shown {
  readonly settings: Record<string, { value: unknown; source: string; from: string | null }>;
  readonly server: { url: string; from: string; token: boolean } | null;
  readonly unknown_variables: string[];
}

describe('flashpods config', () => {
  let home: string;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'fp-config-'));
  });
  after(() => rmSync(home, { recursive: true }));

  async function run(
    flags: Flags & { json?: boolean },
    variables: Record<string, string> = {},
  ): Promise<{ text: string; errors: string; exitCode: number }> {
    const env = { HOME: home, ...variables };
    const streams = [new PassThrough(), new PassThrough()] as const;
    const client = loadClientEnvironment(env);
    const [out, err] = [new Output(streams[0], client), new Output(streams[1], client)];
    const exitCode = await showConfig(flags, { out, err, env, client });
    const read = (stream: PassThrough): string => String(stream.read() ?? '');
    return { text: read(streams[0]), errors: read(streams[1]), exitCode };
  }
  const json = async (flags: Flags, variables?: Record<string, string>): Promise<Shown> =>
    JSON.parse((await run({ ...flags, json: true }, variables)).text) as Shown;

  it('shows every setting with its value and where it came from', async () => {
    const file = join(home, 'settings.json');
    writeFileSync(file, JSON.stringify({ cpus: 3, memoryGb: 5, graceSeconds: 7 }));
    const { settings } = await json(
      { graceSeconds: '9' },
      { FLASHPODS_CONFIG: file, FLASHPODS_MEMORY_GB: '6', FLASHPODS_LOG_LEVEL: '' },
    );
    assert.deepEqual(Object.keys(settings), Object.keys(settingsSchema.shape));
    assert.deepEqual(settings['cpus'], { value: 3, source: 'file', from: file });
    assert.deepEqual(settings['memoryGb'], { value: 6, source: 'variable', from: 'FLASHPODS_MEMORY_GB' });
    assert.deepEqual(settings['graceSeconds'], { value: 9, source: 'flag', from: '--grace-seconds' });
    assert.deepEqual(settings['logLevel'], { value: 'info', source: 'default', from: null });
    assert.deepEqual(settings['dbPath'], {
      value: join(home, '.local/share/flashpods/flashpods.db'),
      source: 'default',
      from: null,
    });
    const { text } = await run({ graceSeconds: '9' }, { FLASHPODS_CONFIG: file });
    for (const name of Object.keys(settingsSchema.shape)) assert.ok(text.includes(variableOf(name)), name);
    assert.match(text, /FLASHPODS_GRACE_SECONDS +9 +--grace-seconds\n/);
    assert.match(text, new RegExp(`FLASHPODS_CPUS +3 +${file}, cpus\n`));
  });

  it('takes the limits of jobs from their variables', () => {
    const env = { HOME: home, FLASHPODS_MAX_CPUS: '32', FLASHPODS_AGENT_DEFAULT_MEMORY_GB: '2' };
    const { worker, agent } = jobLimits(loadConfig({}, env));
    assert.deepEqual([worker.cpus.max, agent.cpus.max, agent.memoryGb.default], [32, 32, 2]);
    assert.deepEqual([worker.memoryGb, worker.timeoutMinutes.max], [{ default: 4, max: 16 }, 120]);
  });

  it('never shows a secret', async () => {
    const token = 'very-secret-token-of-mine';
    for (const url of [
      'redis://user:hidden@host:6379/1',
      'redis://:hidden@host',
      'rediss://hidden@host',
      'redis://a:hidden@b@host',
      'redis://a:b/c?hidden#@host',
      'redis://host?password=hidden&db=1',
      'unix:///run/redis.sock?password=hidden',
    ])
      for (const shape of [true, false]) {
        const { text } = await run(
          { json: shape },
          { FLASHPODS_REDIS_URL: url, FLASHPODS_API_TOKEN: token, FLASHPODS_URL: 'http://127.0.0.1:1' },
        );
        assert.doesNotMatch(text, /hidden/, url);
        assert.ok(!text.includes(token));
        assert.match(text, /\*{8}/);
      }
    const { settings } = await json({}, { FLASHPODS_REDIS_URL: 'redis://user:hidden@host:6379/1' });
    assert.equal(settings['redisUrl']?.value, 'redis://user:********@host:6379/1');
  });

  it('shows mirrors without their accounts, and a wrong one not at all', async () => {
    const env = {
      FLASHPODS_NPM_REGISTRY: 'https://me:hidden@npm.example/a@b',
      FLASHPODS_CARGO_REGISTRY: 'sparse+https://hidden@cargo.example/',
      FLASHPODS_GOPROXY: 'https://me:hidden@go.example,https://x:hidden@other.example|direct',
    };
    const { text } = await run({ json: true }, env);
    assert.doesNotMatch(text, /hidden/);
    assert.match(text, /sparse\+https:\/\/\*{8}@cargo\.example\//);
    for (const [name, value] of [
      ['FLASHPODS_NPM_REGISTRY', 'https://me:hidden/word@npm.example'],
      ['FLASHPODS_PIP_INDEX_URL', 'ftp://hidden'],
      ['FLASHPODS_MAVEN_MIRROR', 'https://host/hidden"\nx'],
      ['FLASHPODS_GOPROXY', 'https://me:hidden@a direct'],
      ['FLASHPODS_GOSUMDB', 'hidden\nx'],
      ['FLASHPODS_PROXY_EXCEPT', 'hidden, b'],
    ] as const)
      await assert.rejects(run({}, { [name]: value }), (error: Error) => {
        assert.match(error.message, new RegExp(`${name}: must be`));
        assert.doesNotMatch(error.message, /hidden/);
        return true;
      });
  });

  it('says where the client would go', async () => {
    assert.equal((await json({})).server, null);
    const { server } = await json(
      {},
      { FLASHPODS_URL: 'http://far:1/x', FLASHPODS_API_TOKEN: 'y'.repeat(20) },
    );
    assert.deepEqual(server, { url: 'http://far:1/x', from: 'FLASHPODS_URL', token: true });
  });

  it('tells a variable that nothing reads, and ends with 1', async () => {
    const { errors, exitCode } = await run({}, { FLASHPODS_LISTEN_ADR: '0.0.0.0:1' });
    assert.equal(exitCode, 1);
    assert.match(errors, /FLASHPODS_LISTEN_ADR is an unknown setting/);
    assert.equal((await run({}, { FLASHPODS_LISTEN_ADDR: '0.0.0.0:1', FLASHPODS_PORT: '1' })).exitCode, 0);
  });

  it('refuses what the server would refuse, naming every wrong setting and its source', async () => {
    const wrong = run({ cpus: '0' }, { FLASHPODS_LISTEN_ADDR: 'nowhere' });
    await assert.rejects(wrong, (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.match(
        error.message,
        /--cpus: [\s\S]*FLASHPODS_LISTEN_ADDR: |FLASHPODS_LISTEN_ADDR: [\s\S]*--cpus: /,
      );
      return true;
    });
  });
});
