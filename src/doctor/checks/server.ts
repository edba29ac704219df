/** A server that runs: whether it is well, has hosts, and takes a job from its beginning to its end. */
import { FlashpodsClient } from '../../client/client.ts';
import { adviceFor, ClientError } from '../../client/client-error.ts';
import { discoverConnection } from '../../client/connection.ts';
import { isTerminal } from '../../jobs/states.ts';
import { within } from '../../timing/within.ts';
import { type Check, failure, type Finding, ok, oneLine, skipped, warning } from '../check.ts';
import type { DoctorResources } from '../resources.ts';

const ANSWER_MS = 8_000;
/** A job that has not started by then is taken back: the server is busy. */
const PATIENCE_MS = 30_000;
const JOB_TIMEOUT_MS = 60_000;
const WORD = 'flashpods-doctor';
const COMMAND = `echo ${WORD} && test -d /work && echo ${WORD} > /artifacts/doctor`;

export function serverChecks(resources: DoctorResources): readonly Check[] {
  const check = (
    name: string,
    timeoutMs: number,
    run: (client: FlashpodsClient, signal: AbortSignal) => Promise<Finding>,
  ): Check => ({
    name,
    timeoutMs,
    async run(signal) {
      let client: FlashpodsClient;
      try {
        client = new FlashpodsClient(await discoverConnection(resources.connection, resources.client));
      } catch (error) {
        if (!(error instanceof ClientError)) throw error;
        return error.code === 'not_reachable'
          ? skipped('no server runs here and none is configured', NO_SERVER[name] ?? null)
          : failure(error.message, error.advice ?? adviceFor(error.code, 'cli'));
      }
      try {
        return await run(client, signal);
      } catch (error) {
        if (error instanceof ClientError)
          return failure(`${error.code}: ${error.message}`, error.advice ?? adviceFor(error.code, 'cli'));
        throw error;
      } finally {
        client.close();
      }
    },
  });
  return [
    check('server', ANSWER_MS, health),
    check('hosts', ANSWER_MS, hosts),
    check('job', JOB_TIMEOUT_MS, job),
  ];
}

const NO_SERVER: Readonly<Record<string, string>> = {
  job: 'Start one with `flashpods up` and ask again: then a job is run from its beginning to its end.',
};

async function health(client: FlashpodsClient, signal: AbortSignal): Promise<Finding> {
  const { status, checks, version } = await client.health(signal);
  const url = client.connection.url.href.replace(/\/$/, '');
  const down = Object.entries(checks)
    .filter(([, state]) => state !== 'ok')
    .map(([name]) => name);
  const what = `${url} (from ${client.connection.origin}), version ${version}, ${status}`;
  if (down.length === 0) return ok(what);
  const text = `${what}: ${down.join(', ')} down`;
  return status === 'unhealthy'
    ? failure(text, 'The server’s log says why; the lines above may too.')
    : warning(text, 'Jobs wait until it is back; the lines above may say why.');
}

async function hosts(client: FlashpodsClient, signal: AbortSignal): Promise<Finding> {
  const { hosts: all } = await client.capacity(signal);
  const up = all.filter(({ state }) => state === 'up');
  const listed = all.map(({ name, state }) => `${name} ${state}`).join(', ');
  const draining = all.filter(({ state }) => state === 'draining');
  if (up.length === 0 && draining.length > 0)
    return failure(
      `no host takes work: ${listed}`,
      `Let one take work again: \`flashpods undrain ${draining[0]?.name ?? 'NAME'}\`.`,
    );
  if (up.length === 0)
    return failure(
      all.length === 0 ? 'no host has registered yet' : `no host takes work: ${listed}`,
      'Start a worker: `flashpods worker` beside the API, or `flashpods up` for all of it.',
    );
  return up.length === all.length
    ? ok(listed)
    : warning(listed, 'Start the workers of those that are not up, if they are to take work.');
}

async function job(client: FlashpodsClient, signal: AbortSignal): Promise<Finding> {
  const began = performance.now();
  const { job_id: id } = await client.createJob(
    {
      type: 'worker',
      command: COMMAND,
      cpus: 1,
      memory_gb: 1,
      timeout_minutes: 1,
      labels: { name: 'doctor' },
    },
    signal,
  );
  try {
    for (;;) {
      const state = await client.getJob(id, { waitSeconds: 5, signal });
      if (isTerminal(state.status)) {
        if (state.status !== 'completed')
          return failure(
            `${id} ${state.status}: ${oneLine([state.error, state.error_message].filter(Boolean).join(': '))}`,
            `flashpods logs ${id} shows its log.`,
          );
        break;
      }
      if (state.status !== 'running' && performance.now() - began > PATIENCE_MS) {
        await client.cancelJob(id, signal);
        return warning(
          `${id} was still ${state.status} after ${PATIENCE_MS / 1_000} s${state.waiting_reason ? ` (${oneLine(state.waiting_reason)})` : ''}`,
          'The server is busy, or its hosts are full: ask again later; `flashpods status` shows them.',
        );
      }
    }
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    const log = await client.log(id, { tail: 10 }, signal);
    const { artifacts } = await client.artifacts(id, signal);
    if (!log?.lines.some(({ text }) => text === WORD) || !artifacts.some(({ name }) => name === 'doctor'))
      return failure(`${id} completed, but its log or its artifact is not there`, `flashpods logs ${id}`);
    return ok(`${id} ran, with log and artifact, in ${seconds} s`);
  } catch (error) {
    // Nobody waits for the job any more, no matter what went wrong.
    if (signal.aborted) await within(client.cancelJob(id), 2_000, undefined).catch(() => undefined);
    throw error;
  }
}
