/** Arguments that several tools take. The API checks them again, to the letter. */
import { z } from 'zod';
import { DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS } from '../patience.ts';

export const jobId = z.string().min(1).max(64);

const patterns = z.array(z.string().min(1)).max(1_000).optional();
const filesShape = {
  local_path: z.string().min(1).optional(),
  exclude: patterns,
  include: patterns,
  git: z.boolean().optional(),
};

/** As {@link files}, for tools whose arguments another one explains. */
export const briefFiles = z.strictObject(filesShape);

export const files = z
  .strictObject({
    local_path: filesShape.local_path.describe(
      'absolute path of a directory of this machine; the project that is open unless given',
    ),
    exclude: patterns.describe('left out, as in a .gitignore: "*.log", "/build/", "!keep.log"'),
    include: patterns.describe('taken although ignored: ".env", "gen/**"'),
    git: filesShape.git.describe('send .git, too'),
  })
  .describe(
    'a directory to send, which the job sees as /work ({}: the project that is open), without .git, node_modules, target, __pycache__, .venv, and what .gitignore names; what git tracks goes along. Sent again, only changes travel',
  );

export const waitSeconds = z
  .int()
  .min(1)
  .max(MAX_WAIT_SECONDS)
  .optional()
  .describe(
    `answers after this many seconds at the latest; ${DEFAULT_WAIT_SECONDS} unless given. Most clients give up on a call after 60 s`,
  );

export const NO_SAVING = 'over this connection nothing can be saved to a local file.';

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
