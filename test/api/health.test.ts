import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { diskCheck, Health, type HealthCheck } from '../../api/health.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { startApi } from './running-api.ts';

interface HealthAnswer {
  status: string;
  version: string;
  uptime_seconds: number;
  checks: Record<string, string>;
}

describe('health', () => {
  it('says what is away, and that it is back', async () => {
    let redisUp = true;
    let podmanUp = true;
    const fail = (): Promise<never> => Promise.reject(new Error('away'));
    const api = await startApi({
      healthChecks: [
        { name: 'redis', matters: true, probe: () => (redisUp ? Promise.resolve() : fail()) },
        { name: 'podman', matters: false, probe: () => (podmanUp ? Promise.resolve() : fail()) },
        diskCheck(['/'], 1),
      ],
    });
    const look = async (): Promise<{ status: number; body: HealthAnswer }> => {
      const answer = await fetch(`${api.server.url}/health`);
      return { status: answer.status, body: (await answer.json()) as HealthAnswer };
    };
    const becomes = (status: number, said: string) =>
      eventually(`health is ${said}`, async () => {
        const answer = await look();
        return answer.status === status && answer.body.status === said ? answer.body : null;
      });
    try {
      const healthy = await becomes(200, 'healthy');
      assert.deepEqual(healthy.checks, { redis: 'ok', podman: 'ok', disk: 'ok' });
      assert.match(healthy.version, /^\d+\.\d+\.\d+/);
      podmanUp = false;
      assert.equal((await becomes(200, 'degraded')).checks['podman'], 'down');
      redisUp = false;
      assert.deepEqual((await becomes(503, 'unhealthy')).checks, {
        redis: 'down',
        podman: 'down',
        disk: 'ok',
      });
      redisUp = podmanUp = true;
      await becomes(200, 'healthy');
    } finally {
      await api.stop();
    }
  });

  it('answers although a probe hangs, and starts it once', async () => {
    let probes = 0;
    let release: () => void = () => undefined;
    const hanging: HealthCheck = {
      name: 'database',
      matters: true,
      probe() {
        probes += 1;
        return new Promise<void>((resolve) => (release = resolve));
      },
    };
    const health = new Health([hanging], silent);
    const reports = await Promise.all(Array.from({ length: 20 }, () => health.report()));
    assert.ok(reports.every(({ status }) => status === 'unhealthy'));
    await health.report();
    assert.equal(probes, 1);
    release();
    await eventually('it is healthy again', async () => {
      release();
      return (await health.report()).status === 'healthy';
    });
  });

  it('probes once for a crowd', async () => {
    let probes = 0;
    const health = new Health(
      [{ name: 'redis', matters: true, probe: () => Promise.resolve((probes += 1)) }],
      silent,
    );
    await Promise.all(Array.from({ length: 100 }, () => health.report()));
    assert.equal(probes, 1);
  });

  it('calls a disk down that has less left than it should', async () => {
    const check = diskCheck(['/'], Number.MAX_SAFE_INTEGER);
    await assert.rejects(check.probe());
  });

  it('calls a disk down that is gone', async () => {
    await assert.rejects(diskCheck(['/', '/nowhere/at/all'], 0).probe());
    await diskCheck(['/'], 0).probe();
  });

  it('never shows a result that is older than it may be', async () => {
    let up = true;
    const health = new Health(
      [{ name: 'redis', matters: true, probe: () => (up ? Promise.resolve() : Promise.reject(new Error())) }],
      silent,
    );
    assert.equal((await health.report()).status, 'healthy');
    up = false;
    await eventually('it is told', async () => (await health.report()).status === 'unhealthy', {
      everyMs: 5,
    });
  });
});
