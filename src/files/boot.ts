import { readFileSync } from 'node:fs';

/** Names this boot of the kernel. */
export const readBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
