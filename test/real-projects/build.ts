/** One project, built as an agent builds it. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Agent } from '../mcp/stdio-client.ts';
import type { Project } from './projects.ts';

const SOURCE = new URL('source', import.meta.url).pathname;

export interface Outcome {
  readonly seconds: number;
  /** What went wrong, in several lines; null: nothing. */
  readonly problem: string | null;
}

/** Unpacks source packages, each in a directory of its name; those that are there already stay. */
export async function fetchSources(directory: string, names: readonly string[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  const missing = names.filter((name) => !existsSync(join(directory, name)));
  if (missing.length > 0) await promisify(execFile)(SOURCE, [directory, ...missing], { maxBuffer: 2 ** 26 });
}

/**
 * One `run_command`, and no second one whatever comes of it; then all artifacts that the project promises.
 * @param directory its files
 * @param out where the artifacts go
 */
export async function build(
  agent: Agent,
  project: Project,
  directory: string,
  out: string,
): Promise<Outcome> {
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
