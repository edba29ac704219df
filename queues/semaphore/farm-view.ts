/** The farm as Redis says it is at one moment: hosts and reservations. */
import type { Amount } from '../../src/jobs/amount.ts';
import type { HostState } from '../../src/jobs/ports.ts';

export interface Reservation extends Amount {
  readonly jobId: string;
  readonly epoch: number;
  readonly host: string;
  readonly owner: string;
  readonly claimed: boolean;
  readonly reservedAt: number;
  /** Latest end, ms since the Unix epoch; null when unknown. */
  readonly endsBy: number | null;
  readonly ticket: string;
}

export interface HostEntry {
  readonly name: string;
  readonly capacity: Amount;
  /** What a job without a wish for disk gets of it at most, MiB. */
  readonly diskMostMib?: number;
  /** File system of its disk, which other hosts may share; empty: its disk is not bounded. */
  readonly diskPlace: string;
  /** May exceed the capacity after a host entered what it really runs. */
  readonly used: Amount;
  readonly held: number;
  readonly generation: number;
  readonly beatAt: number;
  readonly leaseLive: boolean;
  readonly synchronised: boolean;
  readonly draining: boolean;
  /** Its worker gets images before anything is reserved. */
  readonly pulls: boolean;
  /** Given up; it must register again. */
  readonly lost: boolean;
}

export interface FarmView {
  /** Redis's clock, ms since the Unix epoch; all times in the view are by it. */
  readonly now: number;
  /** False when Redis has lost its data and dispatch has stopped. */
  readonly whole: boolean;
  readonly hosts: readonly HostEntry[];
  readonly reservations: readonly Reservation[];
}

/** @returns `suspect` for a host that gets nothing new though nobody drained it */
export function stateOf(host: HostEntry): HostState {
  if (host.lost) return 'lost';
  if (!host.leaseLive || !host.synchronised) return 'suspect';
  return host.draining ? 'draining' : 'up';
}

/** @param reply what `view.lua` returns */
export function toFarmView(reply: unknown): FarmView {
  const [now, nonce, hosts, reservations] = reply as [string, string, string[][], string[][]];
  return {
    now: Number(now),
    whole: nonce !== '',
    hosts: hosts.map((fields) => toHost(fields, Number(now))).sort((a, b) => (a.name < b.name ? -1 : 1)),
    reservations: reservations.map(toReservation),
  };
}

interface Fields {
  readonly id: string;
  readonly text: (field: string) => string;
  readonly number: (field: string) => number;
}

/** A reply of the shape `[id, field, value, field, value, …]`. */
function fieldsOf(flat: readonly string[]): Fields {
  const [id = '', ...pairs] = flat;
  const map = new Map<string, string>();
  for (let index = 0; index + 1 < pairs.length; index += 2)
    map.set(pairs[index] ?? '', pairs[index + 1] ?? '');
  const text = (field: string): string => map.get(field) ?? '';
  return { id, text, number: (field) => Number(text(field)) };
}

function toHost(flat: readonly string[], now: number): HostEntry {
  const { id, text, number } = fieldsOf(flat);
  const mib = <Key extends string>(key: Key, field: string): { readonly [_ in Key]?: number } =>
    text(field) === '' ? {} : ({ [key]: number(field) } as { readonly [_ in Key]?: number });
  return {
    name: id,
    capacity: { cpusMilli: number('cpus'), memoryMib: number('memory'), ...mib('diskMib', 'disk') },
    ...mib('diskMostMib', 'diskMost'),
    diskPlace: text('diskPlace'),
    used: {
      cpusMilli: number('usedCpus'),
      memoryMib: number('usedMemory'),
      ...(text('disk') === '' ? {} : { diskMib: number('usedDisk') }),
    },
    held: number('held'),
    generation: number('generation'),
    beatAt: number('beatAt'),
    leaseLive: now - number('beatAt') <= number('leaseMs'),
    synchronised: text('synchronised') === '1',
    draining: text('draining') === '1',
    pulls: text('pulls') === '1',
    lost: text('lost') === '1',
  };
}

function toReservation(flat: readonly string[]): Reservation {
  const { id, text, number } = fieldsOf(flat);
  return {
    jobId: id,
    epoch: number('epoch'),
    host: text('host'),
    owner: text('owner'),
    cpusMilli: number('cpus'),
    memoryMib: number('memory'),
    ...(number('disk') === 0 ? {} : { diskMib: number('disk') }),
    claimed: text('claimed') === '1',
    reservedAt: number('at'),
    endsBy: text('endsBy') === '' ? null : number('endsBy'),
    ticket: text('ticket'),
  };
}
