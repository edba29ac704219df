/** What Flashpods offers over MCP, on the person's machine and over HTTP. */
import type { ImageListAnswer } from '../client/answers.ts';
import { ClientError } from '../client/client-error.ts';
import { FlashpodsError } from '../errors.ts';
import type { Backend, LocalFiles } from './backend.ts';
import { completionCapability } from './capabilities/completion.ts';
import { completerOf, resourcesCapability } from './capabilities/resources.ts';
import { tasksCapability } from './capabilities/tasks.ts';
import { toolsCapability } from './capabilities/tools.ts';
import type { ServerDefinition } from './server.ts';
import { jobResources } from './resources.ts';
import { Submissions } from './submissions.ts';
import { jobTasks } from './tasks.ts';
import { toolError } from './tool-error.ts';
import { artifactTools } from './tools/artifacts.ts';
import { describeImages, imageTools } from './tools/images.ts';
import { jobTools } from './tools/jobs.ts';
import { spawnTools } from './tools/spawn.ts';

const INSTRUCTIONS = `Flashpods runs shell commands in fresh containers on a build farm: builds, tests and other heavy or risky work that should not run on this machine.
- One command and its result: run_command. Several side by side, or a long one: spawn_worker for each, then wait_for_job.
- A call answers within about 50 s even if the job goes on; \`next\` in every answer says which call comes next. Jobs wait in a queue when the farm is full; that is normal.
- The command runs in /work, which holds a copy of the files sent: build there, nothing of it comes back by itself. Files to keep go under /artifacts.
- Nothing is kept from one job to the next, and no job is retried by itself. A failed job shows its exit code, the last lines and the lines that look like the error.`;

/** A client waits for this before it has seen anything. */
const IMAGES_MS = 3_000;

/** @param files null where the client's disk is not this machine's: nothing can be sent from there or saved to it */
export async function flashpodsServer(backend: Backend, files: LocalFiles | null): Promise<ServerDefinition> {
  const images = await knownImages(backend);
  const shop = { backend, submissions: new Submissions(backend, files), files };
  const resources = jobResources(backend);
  return {
    instructions: [
      INSTRUCTIONS,
      images ? describeImages(images) : '- list_images says which images there are and what is in them.',
      ...(files ? [] : ['- Over this connection no local files can be sent or saved.']),
    ].join('\n'),
    capabilities: [
      toolsCapability(
        [
          ...spawnTools(shop, {
            // Without an image that has an agent in it there is nothing to start.
            agents: images !== null && images.defaults.agent !== null,
            root: images?.allows_root !== false,
          }),
          ...jobTools(shop),
          ...imageTools(shop),
          ...artifactTools(shop),
        ],
        toolError,
      ),
      resourcesCapability(resources, toolError),
      completionCapability(completerOf(resources)),
      tasksCapability(jobTasks(backend)),
    ],
    close: () => backend.close(),
  };
}

/** Null where the server does not answer, or not this caller: tools say why when they are called. */
async function knownImages(backend: Backend): Promise<ImageListAnswer | null> {
  const limit = AbortSignal.timeout(IMAGES_MS);
  try {
    return await backend.images(undefined, limit);
  } catch (error) {
    if (limit.aborted || error instanceof ClientError || error instanceof FlashpodsError) return null;
    throw error;
  }
}
