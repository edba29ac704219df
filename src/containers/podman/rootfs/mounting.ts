/** The steps of `mounting.pl`, which makes mounts that no program of the host makes: one process for all of them. */
import { fileURLToPath } from 'node:url';
import { command } from '../host/command.ts';

const HELPER = fileURLToPath(new URL('./mounting.pl', import.meta.url));

export type Step = readonly [
  name:
    | 'lock'
    | 'until'
    | 'ids'
    | 'private'
    | 'chdir'
    | 'map'
    | 'overlay'
    | 'unmount'
    | 'opaque'
    | 'give'
    | 'enter'
    | 'furnish'
    | 'plain'
    | 'file'
    | 'entry'
    | 'write'
    | 'show'
    | 'has'
    | 'look'
    | 'drop'
    | 'homes',
  ...words: (string | number)[],
];

/** @returns what was shown @throws with the step that failed; those before it are done */
export const doSteps = (steps: readonly Step[]): Promise<string> =>
  command('perl', HELPER, ...steps.flat().map(String));

/** One range of ids: what is `inside` on the disk is `outside` in the mount. */
export const ids = (inside: number, outside: number, count: number): string =>
  `${inside}:${outside}:${count}`;
