/**
 * Prints the transcripts of docs/mcp.md: an agent's calls and what came back, from a real run.
 *
 * Needs a running server whose hosts have the two images: `node scripts/mcp-transcript.ts IMAGE OTHER_IMAGE`.
 * It works in /tmp/squeeze, a copy of examples/squeeze that it makes and removes.
 */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { getDefaultEnvironment, StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';

const ROOT = new URL('..', import.meta.url).pathname;
const PROJECT = '/tmp/squeeze';

const [image, otherImage] = process.argv.slice(2);
if (image === undefined || otherImage === undefined) {
  throw new Error('two images are needed: node scripts/mcp-transcript.ts IMAGE OTHER_IMAGE');
}

const settings = Object.entries(process.env).filter(([name]) => name.startsWith('FLASHPODS_'));
const client = new Client({ name: 'transcript', version: '1' });
await client.connect(
  new StdioClientTransport({
    command: process.execPath,
    args: [join(ROOT, 'bin/flashpods.ts'), 'mcp', '--root', PROJECT],
    env: { ...getDefaultEnvironment(), ...(Object.fromEntries(settings) as Record<string, string>) },
  }),
);

async function call(name: string, args: Record<string, unknown>): Promise<Record<string, unknown>> {
  console.log(`→ ${name} ${JSON.stringify(args)}\n`);
  const result = (await client.callTool({ name, arguments: args })) as CallToolResult;
  for (const block of result.content)
    if (block.type === 'text') console.log(`${block.text.replaceAll(/^/gm, '  ')}\n`);
  return result.structuredContent ?? {};
}

await mkdir(PROJECT); // one that is there is somebody else's
try {
  await cp(join(ROOT, 'examples/squeeze'), PROJECT, { recursive: true });

  console.log('# Offload a build\n');
  const source = join(PROJECT, 'src/main.c');
  const good = await readFile(source, 'utf8');
  await writeFile(source, good.replace('return', 'retrun'));
  const build = {
    command: 'make -j2 BUILD=/tmp/build OUT=/artifacts test dist',
    files: { local_path: PROJECT },
    image,
  };
  await call('run_command', build);
  console.log('(the agent corrects src/main.c)\n');
  await writeFile(source, good);
  const built = await call('run_command', build);
  const [first] = built['artifacts'] as { name: string }[];
  await call('download_artifact', {
    job_id: built['job_id'],
    artifact_name: first?.name,
    save_to: `${PROJECT}/`,
  });

  console.log('# Tests on two images side by side\n');
  const test = {
    command: 'make BUILD=/tmp/build OUT=/artifacts test',
    files: { local_path: PROJECT },
    cpus: 1,
    memory_gb: 2,
  };
  const jobs = [
    await call('spawn_worker', { ...test, image }),
    await call('spawn_worker', { ...test, image: otherImage }),
  ];
  for (const { job_id: id } of jobs) await call('wait_for_job', { job_id: id });
} finally {
  await rm(PROJECT, { recursive: true });
  await client.close();
}
