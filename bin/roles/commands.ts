/** The commands that start a part of the server, or look at its settings. Each takes every setting as a flag. */
import type { EventEmitter } from 'node:events';
import type { DbOptions } from './db.ts';
import type { DoctorOptions } from './doctor.ts';
import type { DbAction } from '../../src/cli/commands/db.ts';
import type { RoleCommand, RoleOption } from '../../src/cli/program.ts';
import type { Output } from '../../src/cli/terminal.ts';
import type { ClientEnvironment } from '../../src/client/environment.ts';
import { RoleExit, type StartRole } from './role.ts';

/** `listenAddr` → `--listen-addr <value>`. */
const flagOf = (setting: string): string =>
  `--${setting.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} <value>`;

/** Loaded when the help or the start of a role needs them: the schema's library takes longer than `flashpods ps`. */
async function settingOptions(): Promise<RoleOption[]> {
  const { settingsSchema } = await import('../../src/settings.ts');
  return (
    Object.entries(settingsSchema.shape)
      // A token on a command line is every user's to read.
      .filter(([name]) => name !== 'apiToken')
      .map(([name, schema]) => ({ flags: flagOf(name), description: schema.description ?? '' }))
  );
}

export function roleCommands(interrupts: EventEmitter<{ interrupt: [] }>): RoleCommand[] {
  const role = (
    name: string,
    summary: string,
    examples: string[],
    load: () => Promise<StartRole>,
  ): RoleCommand => ({
    name,
    summary,
    options: settingOptions,
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
    {
      name: 'mcp',
      summary: 'serve AI agents on this machine over stdin and stdout (Model Context Protocol)',
      options: async () => [
        { flags: '--url <url>', description: 'address of the server (FLASHPODS_URL)' },
        { flags: '--token <token>', description: 'bearer token; safer as FLASHPODS_API_TOKEN' },
        {
          flags: '--root <directory...>',
          description:
            'what of this machine agents may send and save to, beside the roots of the client or, without those, the working directory',
        },
      ],
      examples: [
        'claude mcp add flashpods -- flashpods mcp',
        'FLASHPODS_URL=http://10.0.0.1:8080 flashpods mcp',
      ],
      action: async (flags) => (await import('./mcp.ts')).runMcp(flags, interrupts),
    },
    {
      name: 'doctor',
      summary: 'check what a server on this machine needs, and say how to fix what is missing',
      options: async () => [
        ...(await settingOptions()),
        { flags: '--json', description: 'print JSON' },
        { flags: '--url <url>', description: 'address of the server (FLASHPODS_URL)' },
        { flags: '--token <token>', description: 'bearer token; safer as FLASHPODS_API_TOKEN' },
      ],
      examples: ['flashpods doctor', 'flashpods doctor --json | jq .healthy'],
      action: async (flags: DoctorOptions) => {
        const { runDoctor } = await import('./doctor.ts');
        return withConsole((console) => runDoctor(flags, { ...console, interrupts }));
      },
    },
    {
      name: 'db',
      summary: 'maintain the database of this machine: check it for damage, or vacuum it',
      actions: ['check', 'vacuum'] satisfies DbAction[],
      options: async () => [...(await settingOptions()), { flags: '--json', description: 'print JSON' }],
      examples: ['flashpods db check', 'flashpods db vacuum          # best when few jobs come'],
      action: async (flags: DbOptions, action) => {
        const { runDb } = await import('./db.ts');
        return withConsole((console) => runDb(action as DbAction, flags, console));
      },
    },
    {
      name: 'config',
      summary: 'print the settings in use and where each comes from, secrets masked',
      options: async () => [...(await settingOptions()), { flags: '--json', description: 'print JSON' }],
      examples: ['flashpods config', 'flashpods config --json | jq .settings.listenAddr'],
      action: async (flags) => {
        const { showConfig } = await import('../../src/cli/commands/config.ts');
        return withConsole((console) => showConfig(flags, { ...console, env: process.env }));
      },
    },
  ];
}

interface Console {
  readonly out: Output;
  readonly err: Output;
  readonly client: ClientEnvironment;
}

/** Runs a command that ends by itself; wrong settings are told and answered with 2. */
async function withConsole(work: (console: Console) => Promise<number>): Promise<number> {
  const { Output } = await import('../../src/cli/terminal.ts');
  const { loadClientEnvironment } = await import('../../src/client/environment.ts');
  const { ConfigError } = await import('../../src/config.ts');
  const client = loadClientEnvironment(process.env);
  const [out, err] = [new Output(process.stdout, client), new Output(process.stderr, client)];
  try {
    return await work({ out, err, client });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    await err.line(`flashpods: ${error.message}`);
    return RoleExit.misconfigured;
  } finally {
    await Promise.all([out.flush(), err.flush()]);
  }
}
