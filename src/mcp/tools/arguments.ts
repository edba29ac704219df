/** Arguments that several tools take. The API checks them again, to the letter. */
import { z } from 'zod';
import { DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS } from '../patience.ts';

export const jobId = z
  .string()
  .min(1)
  .max(64)
  .describe('id of the job, `job_…`, as spawn_worker or list_jobs gives it');

const whole = z.int().min(1);

export const resources = {
  cpus: whole.optional().describe('cpus to reserve; the default is 2. Lowered to what the server allows'),
  memory_gb: whole
    .optional()
    .describe('memory to reserve, GB; the default is 4. A job that uses more is killed: oom_killed'),
  timeout_minutes: whole
    .optional()
    .describe(
      'the job is ended after so long; the default is 30 for a worker and 60 for a sub-agent, at most 120',
    ),
};

export const clientJobId = z
  .string()
  .optional()
  .describe('a UUID v4 of your own: calling again with the same one never makes a second job');

export const files = z
  .strictObject({
    local_path: z
      .string()
      .min(1)
      .describe('absolute path of a directory of this machine; the job sees what it holds in /work'),
    exclude: z
      .array(z.string().min(1))
      .max(1_000)
      .optional()
      .describe('names (anywhere) or paths (with a slash) to leave out, besides the usual ones'),
  })
  .describe(
    'a directory to send. Left out of it: .git, node_modules, target, __pycache__, .venv, and what .gitignore names. Sent again, only changes travel',
  );

export const workerArguments = {
  command: z
    .string()
    .min(1)
    .max(10_000)
    .describe(
      'shell command, run by /bin/sh -c in the directory /work. /work is read-only: build in a copy (`cp -r /work /tmp/b && cd /tmp/b && make`). Put results to keep under /artifacts',
    ),
  image: z.string().min(1).max(255).optional().describe('container image; the default is the server’s'),
  ...resources,
  env: z
    .record(z.string(), z.string())
    .optional()
    .describe('variables of the command; not for secrets: they are stored'),
  network: z
    .enum(['internet', 'none'])
    .optional()
    .describe('what the job may reach; the default is internet'),
  client_job_id: clientJobId,
};

export const waitSeconds = z
  .int()
  .min(1)
  .max(MAX_WAIT_SECONDS)
  .optional()
  .describe(
    `answers after so many seconds at the latest, also when the job has not ended; the default is ${DEFAULT_WAIT_SECONDS}. Most clients give up on a call after 60 s: raise it only if yours does not`,
  );
