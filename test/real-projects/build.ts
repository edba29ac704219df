/** Projects, built as an agent builds them. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { variableOf } from '../../src/config.ts';
import { MIRROR_SETTINGS } from '../../src/mirrors/mirrors.ts';
import { type Agent, startAgent } from '../mcp/stdio-client.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { startStack } from '../support/stack.ts';
import type { Project } from './projects.ts';

const EXAMPLES = new URL('../../examples/', import.meta.url).pathname;
const SOURCE = new URL('source', import.meta.url).pathname;

export interface Outcome {
  readonly seconds: number;
  /** What went wrong, in several lines; null: nothing. */
  readonly problem: string | null;
}

/** What {@link buildAll} takes from its caller. */
export interface Told {
  /** Where sources are kept; null: nowhere. */
  readonly sources: string | null;
  readonly cpus: number;
  readonly memoryGb: number;
  outcome(project: Project, outcome: Outcome): void;
}

/**
 * One after another, on a Flashpods of its own, by an agent that has its MCP server and nothing else. Registries and
 * certificates are those that `FLASHPODS_…` of this process say (docs/mirrors.md).
 */
export async function buildAll(projects: readonly Project[], told: Told): Promise<void> {
  const scratch = await temporaryDirectory();
  try {
    const sources = told.sources ?? join(scratch.path, 'sources');
    const names = projects.filter(({ from }) => from === 'debian').map(({ name }) => name);
    await fetchSources(sources, names);
    for (const { name, from } of projects)
      if (from === 'examples') await cp(join(EXAMPLES, name), join(sources, name), { recursive: true });
    const stack = await startStack({
      workers: [{ name: 'farm', cpus: told.cpus, memoryGb: told.memoryGb }],
      env: mirrorVariables(),
    });
    try {
      const env = {
        HOME: scratch.path,
        FLASHPODS_URL: stack.caller.url,
        FLASHPODS_API_TOKEN: stack.caller.token,
      };
      const agent = await startAgent(env, { roots: [sources, join(scratch.path, 'out')] });
      for (const project of projects) {
        const out = join(scratch.path, 'out', project.name);
        told.outcome(project, await build(agent, project, join(sources, project.name), out));
      }
      await agent.close();
    } finally {
      await stack.stop();
    }
  } finally {
    await scratch.remove();
  }
}

const mirrorVariables = (): Record<string, string> =>
  Object.fromEntries(
    ['caFile', ...MIRROR_SETTINGS].flatMap((setting) => {
      const value = process.env[variableOf(setting)];
      return value === undefined ? [] : [[variableOf(setting), value]];
    }),
  );

/** Unpacks source packages, each in a directory of its name; those that are there already stay. */
async function fetchSources(directory: string, names: readonly string[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  const missing = names.filter((name) => !existsSync(join(directory, name)));
  if (missing.length > 0) await promisify(execFile)(SOURCE, [directory, ...missing], { maxBuffer: 2 ** 26 });
}

/**
 * One `run_command`, and no second one for any outcome; then all artifacts that the project promises.
 * @param directory its files
 * @param out where the artifacts go
 */
async function build(agent: Agent, project: Project, directory: string, out: string): Promise<Outcome> {
  const began = performance.now();
  const problem = await tryTo(agent, project, directory, out);
  return { seconds: (performance.now() - began) / 1_000, problem };
}

async function tryTo(agent: Agent, project: Project, directory: string, out: string): Promise<string | null> {
  const { command, image, packages, artifacts } = project;
  // The rest is left to the tool's defaults, as an agent leaves it.
  let { structured, text } = await agent.call('run_command', {
    command,
    files: { local_path: directory },
    ...(image === undefined ? {} : { image }),
    ...(packages === undefined ? {} : { packages }),
  });
  // Not another attempt: a call ends before its client loses patience, and the job goes on.
  while (structured['ended'] === false)
    ({ structured, text } = await agent.call('wait_for_job', { job_id: structured['job_id'] }));
  if (structured['status'] !== 'completed' || structured['exit_code'] !== 0) return text;
  for (const [name, content] of Object.entries(artifacts)) {
    const path = join(out, name);
    await mkdir(dirname(path), { recursive: true });
    const fetched = await agent.call('download_artifact', {
      job_id: structured['job_id'],
      artifact_name: name,
      save_to: path,
    });
    if (fetched.isError) return `${name}: ${fetched.text}`;
    if (!content.test(await readFile(path, 'latin1'))) return `${name} is not what it should be`;
  }
  return null;
}
