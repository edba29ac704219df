/** How a program is started. */

/** @returns what to run in the place of a program, with its arguments */
export type Launch = (program: string, args: readonly string[]) => readonly [string, readonly string[]];

/** As it is, with the rights of this process. */
export const asItIs: Launch = (program, args) => [program, args];
