import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';

const run = promisify(execFile);

/** A container that writes a spool as the real ones do. `remove` kills it if it still runs. */
export const startPrinter = async (
  spoolPath: string,
  script: string,
): Promise<{ readonly ended: Promise<void>; remove(): Promise<void> }> => {
  const name = `flashpods-test-log-${process.pid}-${Math.random().toString(36).slice(2, 10)}`;
  const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
  const log = ['--log-driver', 'k8s-file', '--log-opt', `path=${spoolPath}`];
  const options = ['--name', name, ...limits, ...log, '--network', 'none', '--init=false'];
  await run('podman', ['--runtime', 'runc', 'run', '-d', ...options, BASE_IMAGE, 'bash', '-c', script]);
  const ended = new Promise<void>((resolve, reject) => {
    const waiting = spawn('podman', ['wait', name], { stdio: 'ignore' });
    waiting.on('error', reject);
    waiting.on('exit', () => resolve());
  });
  return {
    ended,
    remove: async () => {
      await run('podman', ['rm', '-f', '-t', '0', name]);
      await ended;
    },
  };
};
