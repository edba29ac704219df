/**
 * Builds and tests real projects on a Flashpods of its own, each by one `run_command` of an agent's MCP server, and
 * fetches what it made: `npm run real-projects [NAME…]`. Takes the images that this machine's Podman has
 * (`flashpods image build base node python rust go`), and Debian's mirror. Exit status 0 when all went well.
 */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from '../support/scratch.ts';
import { startStack } from '../support/stack.ts';
import { startAgent } from '../mcp/stdio-client.ts';
import { build, fetchSources, type Outcome } from './build.ts';
import { PROJECTS } from './projects.ts';

const EXAMPLES = new URL('../../examples/', import.meta.url).pathname;

const wanted = process.argv.slice(2);
const projects = PROJECTS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const unknown = wanted.filter((name) => !PROJECTS.some((project) => project.name === name));
if (unknown.length > 0)
  throw new Error(
    `no such project: ${unknown.join(', ')}; there are: ${PROJECTS.map(({ name }) => name).join(', ')}`,
  );

const scratch = await temporaryDirectory();
const sources = process.env['REAL_PROJECTS_SOURCES'] ?? scratch.path;
const stack = await startStack({ workers: [{ name: 'farm', cpus: 2, memoryGb: 8 }] });
try {
  const debian = projects.filter(({ from }) => from === 'debian').map(({ name }) => name);
  await fetchSources(sources, debian);
  for (const { name, from } of projects)
    if (from === 'examples') await cp(join(EXAMPLES, name), join(sources, name), { recursive: true });
  const agent = await startAgent({
    HOME: scratch.path,
    FLASHPODS_URL: stack.caller.url,
    FLASHPODS_API_TOKEN: stack.caller.token,
  });
  const outcomes: Outcome[] = [];
  for (const project of projects) {
    const outcome = await build(
      agent,
      project,
      join(sources, project.name),
      join(scratch.path, 'out', project.name),
    );
    outcomes.push(outcome);
    const { seconds, problem } = outcome;
    console.log(
      `${problem === null ? 'ok  ' : 'FAIL'} ${project.name.padEnd(28)} ${seconds.toFixed(1).padStart(6)} s`,
    );
    if (problem !== null) console.log(problem.replaceAll(/^/gm, '     '));
  }
  await agent.close();
  const good = outcomes.filter(({ problem }) => problem === null).length;
  console.log(`${good} of ${outcomes.length} at the first call`);
  if (good < outcomes.length) process.exitCode = 1;
} finally {
  await stack.stop();
  await scratch.remove();
}
