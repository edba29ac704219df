import { pause } from '../../timing/bell.ts';
import type { HostAnswer } from '../../client/answers.ts';
import { ClientError } from '../../client/client-error.ts';
import type { CliContext } from '../context.ts';
import { count } from '../quantity.ts';
import { sanitize } from '../terminal.ts';

export interface DrainOptions {
  /** False with `--no-wait`. */
  readonly wait: boolean;
  /** Seconds. */
  readonly timeout?: number;
  readonly remove?: boolean;
}

const LOOK_EVERY_MS = 1_000;

/**
 * Lets a host run empty and waits for that. If the wait is interrupted, the host goes on draining.
 * @throws ClientError poll_timeout, and host_not_found or host_in_use as the API says
 */
export async function drain(name: string, options: DrainOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const deadline = options.timeout === undefined ? Infinity : performance.now() + options.timeout * 1_000;
  let host = await client.drainHost(name, signal);
  let told = '';
  while ((options.wait || options.remove === true) && !host.empty) {
    const still = whatRuns(host);
    if (still !== told) context.notice(`${sanitize(host.name)} drains: ${still}`);
    told = still;
    if (performance.now() > deadline)
      throw new ClientError('poll_timeout', `${name} still runs ${still}; it goes on draining.`);
    await pause(LOOK_EVERY_MS, signal);
    host = await client.getHost(name, signal);
    if (!host.draining) throw new ClientError('not_draining', `Somebody undrained ${name} meanwhile.`);
  }
  if (options.remove === true) await client.removeHost(name, signal);
  const result = { ...host, removed: options.remove === true };
  return context.show(result, () => `${sanitize(host.name)} ${endOf(host, options)}`);
}

/** Lets a host take work again. */
export async function undrain(name: string, context: CliContext): Promise<number> {
  const client = await context.client();
  const host = await client.undrainHost(name, context.untilInterrupted());
  return context.show(host, () => `${sanitize(host.name)} takes work again`);
}

function endOf(host: HostAnswer, { remove }: DrainOptions): string {
  if (remove === true) return 'removed';
  return host.empty ? 'drained: nothing runs there' : `drains: ${whatRuns(host)}`;
}

function whatRuns({ jobs }: HostAnswer): string {
  if (jobs.length === 0) return 'a job is on its way there';
  const ids = jobs.slice(0, 5).map(({ id, status }) => `${sanitize(id)} (${sanitize(status)})`);
  const more = jobs.length > ids.length ? [`${jobs.length - ids.length} more`] : [];
  return `${count(jobs.length, 'job')}: ${[...ids, ...more].join(', ')}`;
}
