import type { Command } from 'commander';
import { addConnectionOptions, clientCommand, type Settling } from './command-builder.ts';
import type { SetTenantOptions } from './commands/tenant.ts';
import { limit, named, positive } from './option-values.ts';

/** `flashpods tenant …`. Nothing of a command is loaded before it is called. */
export function addTenantCommands(program: Command, settling: Settling): void {
  const tenant = clientCommand(
    program,
    'tenant',
    'show and set what each owner uses and may use; setting needs a token with the scope admin',
    [
      'flashpods tenant list',
      'flashpods tenant show builds',
      'flashpods tenant set builds --weight 2 --cpus 16 --queued-jobs 500',
      'flashpods tenant set builds --running-jobs none',
      'flashpods tenant unset builds',
    ],
  );
  addConnectionOptions(
    tenant.command('list').description('owners with jobs or with limits of their own'),
  ).action(
    settling(async (_args, _options, context) => (await import('./commands/tenant.ts')).listTenants(context)),
  );
  addConnectionOptions(tenant.command('show').description('one owner'))
    .argument('<owner>', 'whom tokens belong to', named)
    .action(
      settling(async ([owner = ''], _options, context) =>
        (await import('./commands/tenant.ts')).showTenant(owner, context),
      ),
    );
  addConnectionOptions(
    tenant.command('set').description('set weight and limits; options left out return to their defaults'),
  )
    .argument('<owner>', 'whom tokens belong to', named)
    .option('--weight <number>', 'share of the machines relative to other owners (default 1)', positive)
    .option('--running-jobs <number>', 'jobs at once, or none for no limit', limit)
    .option('--cpus <number>', 'cpus at once, or none', limit)
    .option('--memory-gb <number>', 'memory at once, GB, or none', limit)
    .option('--queued-jobs <number>', 'waiting jobs, or none', limit)
    .option('--kept-mb <number>', 'artifacts that jobs keep by --keep, MB, or none', limit)
    .action(
      settling<SetTenantOptions>(async ([owner = ''], options, context) =>
        (await import('./commands/tenant.ts')).setTenant(owner, options, context),
      ),
    );
  addConnectionOptions(tenant.command('unset').description('return to the defaults'))
    .argument('<owner>', 'whom tokens belong to', named)
    .action(
      settling(async ([owner = ''], _options, context) =>
        (await import('./commands/tenant.ts')).unsetTenant(owner, context),
      ),
    );
}
