/** Why a job waits, as plain sentences. They say nothing of anybody else's jobs but how many are ahead. */
import { type Amount, amountOf, amountOn, fits, inWords } from '../../src/jobs/amount.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Wait } from '../../src/jobs/wait.ts';
import { startOfPosition } from '../estimate.ts';
import type { HostOutlook, JobOutlook, Outlook } from './outlook.ts';

/**
 * How a waiting job stands.
 * @param position its place in the queue, null when that does not hold it
 * @param outlook null when no dispatcher is at work
 */
export function waitOf(job: Job, position: number | null, outlook: Outlook | null, now = Date.now()): Wait {
  const known = outlook?.jobs[job.id];
  const reason = reasonOf(job, position, outlook);
  const starts = startOf(position, outlook, known, amountOf(job));
  return { position, reason, latestStart: starts === null ? null : Math.max(starts, now) };
}

function startOf(
  position: number | null,
  outlook: Outlook | null,
  known: JobOutlook | undefined,
  wanted: Amount,
): number | null {
  if (known) return known.startsAt;
  if (!outlook?.plan || position === null) return null;
  const open = outlook.hosts.filter(({ state }) => state === 'up');
  if (!open.some((host) => fits(host.capacity, amountOn(host, wanted)))) return null;
  if (outlook.plan.offsets.length > 0) return startOfPosition(outlook.plan, position);
  // Nobody waited when the dispatcher last looked.
  return position === 1 && open.some((host) => fits(host.free, amountOn(host, wanted))) ? outlook.at : null;
}

function reasonOf(job: Job, position: number | null, outlook: Outlook | null): string {
  const turn = turnOf(position);
  if (outlook?.recovering === true) return `${recovering(outlook.hosts)}${turn}`;
  if (position === null) {
    return job.status === 'pending'
      ? 'The job is accepted and about to enter the queue.'
      : 'It is about to start on a host.';
  }
  if (!outlook) return `No worker is running, so no job can start now.${turn}`;
  const open = outlook.hosts.filter(({ state }) => state === 'up');
  if (open.length === 0) return `${noHost(outlook.hosts)}${turn}`;

  const wanted = amountOf(job);
  const known = outlook.jobs[job.id];
  const able = open.filter((host) => fits(host.capacity, amountOn(host, wanted)));
  if (known?.why === 'beyond_limit')
    return `It asks for more than its owner may hold at all, since a limit was lowered: cancel it and submit a smaller one, or have the limit raised.${turn}`;
  if (known?.why === 'no_disk') return `${noDisk(wanted, open)}${turn}`;
  if (known?.why === 'too_large' || able.length === 0) {
    return `No host that takes work now has ${inWords(wanted)}.${turn}`;
  }
  switch (known?.why) {
    case 'held_back':
      return `The free room is kept for a larger job ahead, which this one would delay.${turn}`;
    case 'limit':
      return `Its owner holds as much as its limits allow; it starts when one of the owner’s own jobs has ended.${turn}`;
    case 'image':
      return `${pulling(job.image, known)}${turn}`;
    case 'no_room':
      return `${noRoom(wanted, able)}${turn}`;
    case undefined: {
      const roomy = able.find((host) => fits(host.free, amountOn(host, wanted)));
      if (!roomy) return `${noRoom(wanted, able)}${turn}`;
      return position === 1
        ? 'It is next, and starts in a moment.'
        : `${roomy.name} has room, but other jobs come first.${turn}`;
    }
  }
}

function turnOf(position: number | null): string {
  if (position === null) return '';
  if (position === 1) return ' It is next.';
  return position === 2 ? ' 1 job is ahead.' : ` ${(position - 1).toLocaleString('en')} jobs are ahead.`;
}

function recovering(hosts: readonly HostOutlook[]): string {
  const silent = hosts.filter(({ state }) => state === 'suspect').map(({ name }) => name);
  const when =
    silent.length === 0
      ? 'in a moment'
      : `once ${list(silent)} ${silent.length === 1 ? 'has' : 'have'} said what runs there`;
  return `The queue is being restored after an outage of Redis; starts go on ${when}.`;
}

function noHost(hosts: readonly HostOutlook[]): string {
  const words = {
    up: 'is up',
    draining: 'is draining',
    suspect: 'does not answer',
    lost: 'is lost',
  } as const;
  if (hosts.length === 0) return 'No host is up.';
  return `No host takes work at the moment: ${list(hosts.map(({ name, state }) => `${name} ${words[state]}`))}.`;
}

function noRoom(wanted: Amount, able: readonly HostOutlook[]): string {
  const [best] = [...able].sort((a, b) => missing(wanted, a) - missing(wanted, b));
  if (!best) return `Waiting for ${inWords(wanted)}.`;
  const among = able.length === 1 ? '' : 'of the hosts that could run it, ';
  return `Waiting for ${inWords(amountOn(best, wanted))}: ${among}${best.name} has ${inWords(best.free)} free.`;
}

/** The larger of the parts of what is wanted that is not there. */
function missing(wanted: Amount, host: HostOutlook): number {
  const { free } = host;
  const { diskMib = 0 } = amountOn(host, wanted);
  return Math.max(
    (wanted.cpusMilli - free.cpusMilli) / wanted.cpusMilli,
    (wanted.memoryMib - free.memoryMib) / wanted.memoryMib,
    diskMib === 0 ? -Infinity : (diskMib - (free.diskMib ?? Infinity)) / diskMib,
  );
}

function noDisk(wanted: Amount, open: readonly HostOutlook[]): string {
  const sizes = open.map((host) => ({ host, left: host.capacity.diskMib ?? Infinity }));
  const best = sizes.sort((a, b) => b.left - a.left)[0]?.host;
  if (!best) return 'Waiting for disk.';
  const needed = amountOn(best, wanted).diskMib ?? 0;
  return `Waiting for ${megabytes(needed)} of disk: ${best.name} has ${megabytes(best.capacity.diskMib ?? 0)} for jobs, and the rest of its disk is full of other things.`;
}

const megabytes = (mib: number): string => `${Math.floor(mib).toLocaleString('en')} MB`;

function pulling(image: string, { pullOn, pullStep }: JobOutlook): string {
  if (pullOn === undefined) return `No host has its image ${image} yet.`;
  return `Pulling ${image} on ${pullOn}${pullStep === undefined ? '' : ` (${pullStep})`}.`;
}

/** A farm's hosts in one sentence: the first three and how many more. */
function list(names: readonly string[]): string {
  const shown = names.length > 3 ? [...names.slice(0, 3), `${names.length - 3} more`] : names;
  const last = shown.at(-1) ?? '';
  return shown.length < 2 ? last : `${shown.slice(0, -1).join(', ')} and ${last}`;
}
