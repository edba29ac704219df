import type { TenantAmounts, TenantAnswer } from '../../client/answers.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { advised } from '../report.ts';
import { table } from '../table.ts';
import { sanitize } from '../terminal.ts';

/** Infinity: no limit. What is left out is the server's default. */
export interface SetTenantOptions {
  readonly weight?: number;
  readonly runningJobs?: number;
  readonly cpus?: number;
  readonly memoryGb?: number;
  readonly queuedJobs?: number;
  readonly keptMb?: number;
}

const COLUMNS = [
  { title: 'OWNER' },
  { title: 'WEIGHT', right: true },
  { title: 'RUNNING', right: true },
  { title: 'CPUS', right: true },
  { title: 'MEMORY GB', right: true },
  { title: 'QUEUED', right: true },
  { title: 'KEPT MB', right: true },
];

/** What each owner has, of what it may have. */
export async function listTenants(context: CliContext): Promise<number> {
  const client = await context.client();
  const tenants = await client.listTenants(context.untilInterrupted());
  await context.show({ tenants }, () => table(COLUMNS, tenants.map(row)).join('\n'));
  if (tenants.length === 0 && !context.json && context.err.isTTY)
    context.notice('no owner has jobs or settings');
  return ExitCode.fine;
}

export async function showTenant(owner: string, context: CliContext): Promise<number> {
  const client = await context.client();
  return await show(await client.getTenant(owner, context.untilInterrupted()), context);
}

export async function setTenant(
  owner: string,
  options: SetTenantOptions,
  context: CliContext,
): Promise<number> {
  const { weight, runningJobs, cpus, memoryGb, queuedJobs, keptMb } = options;
  const limits: Partial<TenantAmounts<number | null>> = {
    ...(runningJobs === undefined ? {} : { running_jobs: orNone(runningJobs) }),
    ...(cpus === undefined ? {} : { cpus: orNone(cpus) }),
    ...(memoryGb === undefined ? {} : { memory_gb: orNone(memoryGb) }),
    ...(queuedJobs === undefined ? {} : { queued_jobs: orNone(queuedJobs) }),
    ...(keptMb === undefined ? {} : { kept_mb: orNone(keptMb) }),
  };
  const client = await context.client();
  const request = { ...(weight === undefined ? {} : { weight }), limits };
  return await show(await client.setTenant(owner, request, context.untilInterrupted()), context);
}

export async function unsetTenant(owner: string, context: CliContext): Promise<number> {
  const client = await context.client();
  await client.unsetTenant(owner, context.untilInterrupted()).catch((error: unknown) => {
    throw advised(error, '`flashpods tenant list` lists the owners.');
  });
  return context.show({ unset: owner }, () => `${sanitize(owner)} has the defaults`);
}

const orNone = (limit: number): number | null => (limit === Infinity ? null : limit);

const show = (tenant: TenantAnswer, context: CliContext): Promise<number> =>
  context.show(tenant, () => table(COLUMNS, [row(tenant)]).join('\n'));

const row = ({ owner, weight, used, limits }: TenantAnswer): readonly string[] => {
  const of = (name: keyof TenantAmounts<number>): string => `${used[name]}/${limits[name] ?? '∞'}`;
  // An older server says nothing of it.
  const kept = (used as Partial<TenantAmounts<number>>).kept_mb === undefined ? '-' : of('kept_mb');
  return [
    sanitize(owner),
    String(weight),
    of('running_jobs'),
    of('cpus'),
    of('memory_gb'),
    of('queued_jobs'),
    kept,
  ];
};
