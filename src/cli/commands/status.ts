import type { CapacityAnswer, HealthAnswer } from '../../client/answers.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { count, showDuration } from '../quantity.ts';
import { table } from '../table.ts';
import { type Colour, sanitize } from '../terminal.ts';

/** Health, hosts and queue of the server; 1 when it says that it is unhealthy. */
export async function status(context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const { url, origin } = client.connection;
  const health = await client.health(signal);
  const exitCode = health.status === 'unhealthy' ? ExitCode.error : ExitCode.fine;
  if (!context.json) await showHealth(url.href.replace(/\/$/, ''), origin, health, context);
  // Without Redis nobody knows the capacity; then the health above says why, and that is the answer.
  const capacity = await client.capacity(signal).catch((error: unknown) => {
    if (exitCode === ExitCode.fine) throw error;
    return null;
  });
  if (context.json) await context.out.json({ url: url.href, configured_by: origin, health, capacity });
  else if (capacity) await showCapacity(capacity, context);
  return exitCode;
}

async function showHealth(
  url: string,
  origin: string,
  health: HealthAnswer,
  { out }: CliContext,
): Promise<void> {
  const colours: Readonly<Record<string, Colour>> = { healthy: 'green', degraded: 'yellow' };
  const word = out.colour(colours[health.status] ?? 'red', sanitize(health.status));
  await out.line(`${url} (from ${origin})`);
  await out.line(`${word} · version ${sanitize(health.version)} · up ${showDuration(health.uptime_seconds)}`);
  for (const [name, check] of Object.entries(health.checks)) {
    await out.line(
      `  ${sanitize(name)}: ${sanitize(typeof check === 'string' ? check : JSON.stringify(check))}`,
    );
  }
}

async function showCapacity({ hosts, queue }: CapacityAnswer, { out }: CliContext): Promise<void> {
  const columns = [
    { title: 'HOST' },
    { title: 'STATE' },
    { title: 'CPUS FREE', right: true },
    { title: 'MEMORY FREE', right: true },
    { title: 'JOBS', right: true },
  ];
  const rows = hosts.map((host) => [
    sanitize(host.name),
    sanitize(host.state),
    `${host.free.cpus} of ${host.capacity.cpus}`,
    `${host.free.memory_gb} of ${host.capacity.memory_gb} GB`,
    String(host.running_jobs),
  ]);
  await out.line('');
  await out.line(hosts.length === 0 ? 'no hosts' : table(columns, rows).join('\n'));
  const oldest = queue.length === 0 ? '' : `, the oldest for ${showDuration(queue.oldest_wait_seconds)}`;
  await out.line(`${count(queue.length, 'job')} waiting${oldest}`);
}
