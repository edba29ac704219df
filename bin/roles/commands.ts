/** The commands that start a part of the server. Each takes every setting as a flag. */
import type { EventEmitter } from 'node:events';
import type { RoleCommand } from '../../src/cli/program.ts';
import { settingsSchema } from '../../src/config.ts';
import type { StartRole } from './role.ts';

/** `listenAddr` → `--listen-addr <value>`. */
const flagOf = (setting: string): string =>
  `--${setting.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} <value>`;

export function roleCommands(interrupts: EventEmitter<{ interrupt: [] }>): RoleCommand[] {
  const options = Object.entries(settingsSchema.shape)
    // A token on a command line is every user's to read.
    .filter(([name]) => name !== 'apiToken')
    .map(([name, schema]) => ({ flags: flagOf(name), description: schema.description ?? '' }));
  const role = (
    name: string,
    summary: string,
    examples: string[],
    load: () => Promise<StartRole>,
  ): RoleCommand => ({
    name,
    summary,
    options,
    examples,
    action: async (flags) => (await import('./run-role.ts')).runRole(name, flags, load, interrupts),
  });
  return [
    role(
      'up',
      'start everything on this machine: Redis, Podman service, API, one worker',
      [
        'flashpods up',
        'flashpods up --listen-addr 127.0.0.1:0 --data-dir /srv/flashpods',
        'flashpods up --cpus 4 --memory-gb 8',
      ],
      async () => (await import('./up.ts')).startUp,
    ),
    role(
      'api',
      'start the HTTP API; needs Redis (FLASHPODS_REDIS_URL) and a token',
      ['FLASHPODS_REDIS_URL=redis://10.0.0.1:6379 flashpods api --listen-addr 10.0.0.1:8080'],
      async () => (await import('./api.ts')).startApiRole,
    ),
    role(
      'worker',
      'start the worker of this host; needs Redis (FLASHPODS_REDIS_URL) and Podman (FLASHPODS_PODMAN_SOCKET)',
      [
        'FLASHPODS_REDIS_URL=redis://10.0.0.1:6379 FLASHPODS_PODMAN_SOCKET=/run/podman/podman.sock flashpods worker',
      ],
      async () => (await import('./worker.ts')).startWorkerRole,
    ),
  ];
}
