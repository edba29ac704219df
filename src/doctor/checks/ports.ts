/** Whether the addresses of API and rsync daemon are to be had, or are ours already. */
import { createServer } from 'node:net';
import { systemCode } from '../../errors.ts';
import { daemonAddress } from '../../uploads/rsync/daemon.ts';
import { type Check, failure, type Finding, ok, warning } from '../check.ts';
import { printed } from '../program.ts';
import type { DoctorResources } from '../resources.ts';

const TIMEOUT_MS = 10_000;
const ANSWER_MS = 3_000;

export const portChecks = (resources: DoctorResources): readonly Check[] => [
  { name: 'api address', timeoutMs: TIMEOUT_MS, run: () => apiAddress(resources.config.listenAddr) },
  { name: 'rsync', timeoutMs: TIMEOUT_MS, run: () => rsync(resources) },
];

async function apiAddress(address: string): Promise<Finding> {
  const problem = await bindProblem(address);
  if (problem === null)
    return ok(address.endsWith(':0') ? `${address} takes a free port` : `${address} is free`);
  if (problem === 'EADDRINUSE' && (await isFlashpods(address))) return ok(`${address} is a Flashpods`);
  const other = 'choose another with FLASHPODS_LISTEN_ADDR, where port 0 takes a free one';
  return failure(
    `${address}: ${told(problem)}`,
    problem === 'EADDRINUSE' ? `End what listens there, or ${other}.` : `Correct it: ${other}.`,
  );
}

async function rsync({ config, rsyncPath }: DoctorResources): Promise<Finding> {
  if (config.rsyncAddr === 'off') return ok('switched off: uploads come over HTTP alone');
  const version = /version (\S+)/.exec((await printed('rsync', '--version')) ?? '')?.[1];
  if (version === undefined)
    return warning(
      'rsync is not installed: uploads come over HTTP alone, and whole',
      'On Debian: apt-get install rsync.',
    );
  const running = daemonAddress(rsyncPath);
  if (running !== null) return ok(`${version}; its daemon is at ${running}`);
  const problem = await bindProblem(config.rsyncAddr);
  if (problem === null) return ok(`${version}; ${config.rsyncAddr} is free`);
  return problem === 'EADDRINUSE'
    ? warning(
        `${version}; something else has ${config.rsyncAddr}, so the daemon will take another port`,
        'Name a free one with FLASHPODS_RSYNC_ADDR if a firewall has to know it.',
      )
    : failure(`${config.rsyncAddr}: ${told(problem)}`, 'Correct FLASHPODS_RSYNC_ADDR.');
}

/** @param address HOST:PORT @returns the system's code, or null when it can be had */
function bindProblem(address: string): Promise<string | null> {
  const { hostname, port } = new URL(`tcp://${address}`);
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', (error) => resolve(systemCode(error) ?? 'unknown'));
    server.listen({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), exclusive: true }, () => {
      server.close(() => resolve(null));
    });
  });
}

function told(code: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return 'something else listens there';
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return 'this machine has no such address';
    case 'EACCES':
      return 'this user may not listen there (ports below 1024 are root’s)';
    default:
      return `can't be listened at (${code})`;
  }
}

async function isFlashpods(address: string): Promise<boolean> {
  const url = new URL(`http://${address}/health`);
  if (['0.0.0.0', '[::]'].includes(url.hostname)) url.hostname = '127.0.0.1';
  try {
    const answer: unknown = await (await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) })).json();
    return typeof answer === 'object' && answer !== null && 'status' in answer && 'checks' in answer;
  } catch {
    return false; // it is not ours
  }
}
