/** The commands that look at the server and look after it. Nothing of one is loaded before it is called. */
import { Argument, type Command } from 'commander';
import { addConnectionOptions, clientCommand, type Settling, withExamples } from './command-builder.ts';
import type { DrainOptions } from './commands/drain.ts';
import type { RemoveCachesOptions } from './commands/cache.ts';
import type { BuildOptions } from './commands/image.ts';
import type { CreateTokenOptions } from './commands/token.ts';
import type { TopOptions } from './commands/top.ts';
import { listed, moment, named, seconds } from './option-values.ts';
import { addTenantCommands } from './tenant-commands.ts';
import { type Shell, SHELLS } from './completion/scripts.ts';

export function addServerCommands(program: Command, settling: Settling): void {
  program.commandsGroup('Server:');

  clientCommand(program, 'status', 'health, hosts and queue of the server', [
    'flashpods status',
    'flashpods status --json',
  ]).action(
    settling(async (_args, _options, context) => (await import('./commands/status.ts')).status(context)),
  );

  clientCommand(
    program,
    'top',
    'live view of hosts, queue and running jobs; prints one snapshot when piped',
    ['flashpods top', 'flashpods top --interval 5s', 'flashpods top --json | jq .capacity.queue'],
  )
    .option('--interval <time>', 'time between updates, such as 5s or 1m (default 2s)', seconds)
    .action(
      settling<TopOptions>(async (_args, options, context) =>
        (await import('./commands/top.ts')).top(options, context),
      ),
    );

  addImageCommands(program, settling);
  addCacheCommands(program, settling);
  addHostCommands(program, settling);
  addTokenCommands(program, settling);
  addTenantCommands(program, settling);

  withExamples(program.command('completion').description('print a shell completion script'), [
    'source <(flashpods completion bash)        # in ~/.bashrc',
    'source <(flashpods completion zsh)         # in ~/.zshrc, after compinit',
    'flashpods completion fish | source         # in ~/.config/fish/config.fish',
  ])
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action(
      settling(async ([shell = ''], _options, context) =>
        (await import('./commands/completion.ts')).completion(shell as Shell, context),
      ),
    );
}

function addImageCommands(program: Command, settling: Settling): void {
  const image = clientCommand(program, 'image', 'build, list and remove the images that jobs run in', [
    'flashpods image ls',
    'flashpods image build base node',
    'flashpods image build python --force       # with the newest packages',
    "flashpods image rm 'node + libvips-dev'     # what was installed for your jobs",
  ]);
  addConnectionOptions(
    image.command('ls').description('list the images on the hosts, and those that can be built'),
  ).action(
    settling(async (_args, _options, context) => (await import('./commands/image.ts')).listImages(context)),
  );
  addConnectionOptions(
    image
      .command('rm')
      .description('remove images, or packages installed on top of one for your jobs, from all hosts'),
  )
    .argument(
      '<names...>',
      "as `image ls` shows them, for example 'node + libvips-dev'; removing anything else than yours needs the scope admin",
    )
    .action(
      settling(async (names, _options, context) =>
        (await import('./commands/image.ts')).removeImages(names, context),
      ),
    );
  addConnectionOptions(
    image.command('build').description('build the images that come with Flashpods, on this machine'),
  )
    .argument('<names...>', 'base, node, python, rust, go, java')
    .option('--force', 'rebuild it even if it exists')
    .option('--from <image>', 'build on this Debian image instead of the base image')
    .action(
      settling<BuildOptions>(async (names, options, context) =>
        (await import('./commands/image.ts')).buildImages(names, options, context),
      ),
    );
}

function addCacheCommands(program: Command, settling: Settling): void {
  const cache = clientCommand(program, 'cache', 'list and remove the caches that jobs find again', [
    'flashpods cache ls',
    'flashpods cache rm npm cargo',
    'flashpods cache rm npm --scope pr-12',
  ]);
  addConnectionOptions(
    cache.command('ls').description('list the caches that hosts keep, and who wrote them'),
  ).action(
    settling(async (_args, _options, context) => (await import('./commands/cache.ts')).listCaches(context)),
  );
  addConnectionOptions(cache.command('rm').description('remove caches from all hosts'))
    .argument('<names...>', 'as `cache ls` shows them')
    .option('--scope <scope>', 'of this scope alone; of every scope unless given', named)
    .option('--owner <owner>', 'whose; another than one’s own needs the scope admin', named)
    .action(
      settling<RemoveCachesOptions>(async (names, options, context) =>
        (await import('./commands/cache.ts')).removeCaches(names, options, context),
      ),
    );
}

function addHostCommands(program: Command, settling: Settling): void {
  clientCommand(
    program,
    'drain',
    'stop giving a host new jobs, and wait until it is empty; needs the scope admin',
    [
      'flashpods drain rack-3',
      'flashpods drain rack-3 --no-wait',
      'flashpods drain rack-3 --remove          # of a host that will not come back',
    ],
  )
    .argument('<host>', 'name of the host', named)
    .option('--no-wait', 'return at once; draining continues')
    .option(
      '--timeout <time>',
      'stop waiting after this time, with exit code 124, such as 90s or 5m (bare number: seconds)',
      seconds,
    )
    .option('--remove', 'forget the host once it is empty and its worker has ended')
    .action(
      settling<DrainOptions>(async ([name = ''], options, context) =>
        (await import('./commands/drain.ts')).drain(name, options, context),
      ),
    );

  clientCommand(program, 'undrain', 'let a host take jobs again; needs the scope admin', [
    'flashpods undrain rack-3',
  ])
    .argument('<host>', 'name of the host', named)
    .action(
      settling(async ([name = ''], _options, context) =>
        (await import('./commands/drain.ts')).undrain(name, context),
      ),
    );
}

function addTokenCommands(program: Command, settling: Settling): void {
  const token = clientCommand(
    program,
    'token',
    'create, list and revoke tokens; needs a token with the scope admin',
    [
      'flashpods token create ci --owner builds',
      'flashpods token create reader --owner builds --scope jobs:read --expires 90d',
      'flashpods token list',
      'flashpods token revoke ci',
    ],
  );
  addConnectionOptions(token.command('create').description('create a token and print it (shown only once)'))
    .argument('<name>', 'name to list and revoke it by', named)
    .requiredOption('--owner <owner>', 'owner of the jobs and uploads it creates and sees', named)
    .option(
      '--scope <scopes>',
      'jobs:read, jobs:write, uploads:write, admin; repeatable (default: the first three)',
      listed,
    )
    .option('--expires <time>', 'expires after 90d, 12h or 30m, or on a date (default: never)', moment)
    .action(
      settling<CreateTokenOptions>(async ([name = ''], options, context) =>
        (await import('./commands/token.ts')).createToken(name, options, context),
      ),
    );
  addConnectionOptions(token.command('list').description('list tokens by name')).action(
    settling(async (_args, _options, context) => (await import('./commands/token.ts')).listTokens(context)),
  );
  addConnectionOptions(token.command('revoke').description('revoke a token'))
    .argument('<name>', 'name of the token', named)
    .action(
      settling(async ([name = ''], _options, context) =>
        (await import('./commands/token.ts')).revokeToken(name, context),
      ),
    );
}
