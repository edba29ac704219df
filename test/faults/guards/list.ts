/** Every guard of the suite. `npm run guards` takes each out once and sees its test fail. */
import type { Guard } from './guard.ts';
import { HOST_GUARDS } from './hosts.ts';
import { QUEUE_GUARDS } from './queue.ts';

export const GUARDS: readonly Guard[] = [...HOST_GUARDS, ...QUEUE_GUARDS];
