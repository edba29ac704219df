/** A few lines of the product without which jobs would be lost, run twice or overcommit a host. */
export interface Guard {
  /** What it promises. */
  readonly name: string;
  /** From the root of the repository. */
  readonly file: string;
  /** The exact text, once in that file, and what stands there without the guard. */
  readonly find: string;
  readonly replace: string;
  /** The test that fails without it: its file, and its title or a part of it that no other test has. */
  readonly spec: string;
  readonly test: string;
}
