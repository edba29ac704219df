/** Arguments that several tools take. The API checks them again, to the letter. */
import { z } from 'zod';
import { DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS } from '../patience.ts';

export const jobId = z
  .string()
  .min(1)
  .max(64)
  .describe('id of the job, `job_…`, as spawn_worker or list_jobs gives it');

export const files = z
  .strictObject({
    local_path: z
      .string()
      .min(1)
      .describe(
        'absolute path of a directory of this machine, within what the person opened; the job sees what it holds in /work',
      ),
    exclude: z
      .array(z.string().min(1))
      .max(1_000)
      .optional()
      .describe(
        'patterns as in a .gitignore to leave out: "*.log", "/build/", "data/**"; the last that matches decides, "!x" takes along',
      ),
    include: z
      .array(z.string().min(1))
      .max(1_000)
      .optional()
      .describe('patterns of what goes along although it is ignored: ".env", "gen/**"'),
    git: z
      .boolean()
      .optional()
      .describe('send .git, too, so that git works in the job; worktrees and submodules are made whole'),
  })
  .describe(
    'a directory to send. Without .git, node_modules, target, __pycache__, .venv, and what .gitignore and .flashpodsignore name; what git tracks goes along. The answer names what stayed behind. Sent again, only changes travel',
  );

export const waitSeconds = z
  .int()
  .min(1)
  .max(MAX_WAIT_SECONDS)
  .optional()
  .describe(
    `answers after this many seconds at the latest, also when the job has not ended; the default is ${DEFAULT_WAIT_SECONDS}. Most clients give up on a call after 60 s: raise it only if yours does not`,
  );

/** Hints of a tool that changes nothing, and of one that makes a job. */
export const READS = {
  readOnlyHint: true,
  destructiveHint: false,
  idempotentHint: true,
  openWorldHint: false,
};
export const CREATES = {
  readOnlyHint: false,
  destructiveHint: false,
  idempotentHint: false,
  openWorldHint: true,
};
