/**
 * Makes `dist/` for the published package. A checkout needs no build: Node runs the TypeScript as it is; but it refuses
 * to do so below `node_modules`, where an installed package lies.
 */
import { cp, glob, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

const DIST = 'dist';

await rm(DIST, { recursive: true, force: true });
await execa('npx', ['tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
// What the code reads beside itself: the semaphore's scripts, the gate of the rsync daemon, what makes mounts, and the version.
for await (const file of glob('{api,bin,queues,processors,src}/**/*.{lua,pl,sh}')) {
  await mkdir(dirname(join(DIST, file)), { recursive: true });
  await cp(file, join(DIST, file));
}
await cp('package.json', join(DIST, 'package.json'));
