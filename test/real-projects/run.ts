/**
 * Builds and tests real projects on a Flashpods of its own, each by one `run_command` of an agent's MCP server, and
 * fetches what it made: `npm run real-projects [NAME…]`. Takes the images that this machine's Podman has
 * (`flashpods image build base node python rust go`), Debian's mirror and npm's registry; what these need beyond that is
 * said as to any Flashpods, for example `FLASHPODS_CA_FILE`. Exit status 0 when all went well.
 */
import { buildAll } from './build.ts';
import { PROJECTS } from './projects.ts';

const wanted = process.argv.slice(2);
const projects = PROJECTS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const unknown = wanted.filter((name) => !PROJECTS.some((project) => project.name === name));
if (unknown.length > 0)
  throw new Error(
    `no such project: ${unknown.join(', ')}; there are: ${PROJECTS.map(({ name }) => name).join(', ')}`,
  );

let good = 0;
await buildAll(projects, {
  sources: process.env['REAL_PROJECTS_SOURCES'] ?? null,
  cpus: 2,
  memoryGb: 8,
  outcome({ name }, { seconds, problem }) {
    console.log(
      `${problem === null ? 'ok  ' : 'FAIL'} ${name.padEnd(28)} ${seconds.toFixed(1).padStart(6)} s`,
    );
    if (problem === null) good += 1;
    else console.log(problem.replaceAll(/^/gm, '     '));
  },
});
console.log(`${good} of ${projects.length} at the first call`);
if (good < projects.length) process.exitCode = 1;
