/** What Flashpods offers over MCP, on the person's machine and over HTTP. */
import { DEFAULT_RETRY } from '../client/connection.ts';
import { type Backend, FixedBackend } from './backend.ts';
import type { ServerDefinition } from './definition.ts';
import { jobResources } from './resources.ts';
import { Submissions } from './submissions.ts';
import { jobTasks } from './tasks.ts';
import { toolError } from './tool-error.ts';
import { artifactTools } from './tools/artifacts.ts';
import { jobTools } from './tools/jobs.ts';
import { spawnTools } from './tools/spawn.ts';

const INSTRUCTIONS = `Flashpods runs shell commands in fresh containers on a build farm: builds, tests and other heavy or risky work that should not run on this machine.
- One command and its result: run_command. Several side by side, or a long one: spawn_worker for each, then wait_for_job.
- A call answers within about 50 s even if the job goes on; \`next\` in every answer says which call comes next. Jobs wait in a queue when the farm is full; that is normal.
- The command runs in /work, which holds the files sent and is read-only for workers: copy it to /tmp to build. Files to keep go under /artifacts.
- Nothing is kept from one job to the next, and no job is retried by itself. A failed job shows its exit code, the last lines and the lines that look like the error.`;

/** @param local whether files of the client can be read and written here */
export function flashpodsServer(backend: Backend, { local }: { local: boolean }): ServerDefinition {
  const shop = { backend, submissions: new Submissions(backend), local };
  return {
    instructions: local
      ? INSTRUCTIONS
      : `${INSTRUCTIONS}\n- Over this connection no local files can be sent or saved.`,
    tools: [...spawnTools(shop), ...jobTools(shop), ...artifactTools(shop)],
    resources: jobResources(backend),
    tasks: jobTasks(backend),
    toolError,
    close: () => backend.close(),
  };
}

/** For one session of a caller of the API: its requests come back to the same API, with the caller's token. */
export function overHttp({ url, token }: { readonly url: URL; readonly token: string }): ServerDefinition {
  const backend = new FixedBackend({
    url,
    token,
    origin: 'this server',
    retry: DEFAULT_RETRY,
    defaultExclude: null,
    rsyncHost: null,
    // Nothing is sent from here, so nothing is remembered.
    cacheDir: '/nonexistent',
  });
  return flashpodsServer(backend, { local: false });
}
