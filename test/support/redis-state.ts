/** What only a crash or much time makes of the state in Redis, and the names that it takes to do so. */
import type { Keys } from '../../queues/keys.ts';
import type { QueueResources } from '../../queues/resources.ts';

type InRedis = Pick<QueueResources, 'connection' | 'keys'>;

export const leaderKey = ({ prefix }: Keys): string => `${prefix}:leader`;
export const hostKey = ({ prefix }: Keys, name: string): string => `${prefix}:host:${name}`;
export const reservationKey = ({ prefix }: Keys, jobId: string): string => `${prefix}:reservation:${jobId}`;

/** As if the reservation had been made that much earlier. */
export const ageReservation = ({ connection, keys }: InRedis, jobId: string, ms = 10_000): Promise<number> =>
  connection.hincrby(reservationKey(keys, jobId), 'at', -ms);

/** As if the host had not been heard of for that much longer. */
export const silenceHost = ({ connection, keys }: InRedis, name: string, ms: number): Promise<number> =>
  connection.hincrby(hostKey(keys, name), 'beatAt', -ms);

/** The next dispatcher that looks takes the lead. */
export const dropLead = ({ connection, keys }: InRedis): Promise<number> => connection.del(leaderKey(keys));

/** @returns host and token of the dispatcher that leads */
export const leader = ({ connection, keys }: InRedis): Promise<string | null> =>
  connection.get(leaderKey(keys));
