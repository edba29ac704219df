/**
 * A few lines of the product without which jobs would be lost, run twice or overcommit a host. In the product the
 * statement is marked by a comment on a line of its own above it, `// guard: NAME`, in Lua `-- guard: NAME`. Code may
 * move and change as long as the marker stays above the statement that keeps the promise.
 */
export interface Guard {
  /** The marker's name, once in the product. */
  readonly marker: string;
  readonly promise: string;
  /** What stands in place of the marked statement when the guard is taken out. Default: nothing. */
  readonly without?: string | ((statement: string) => string);
  /** The test that fails without it: its file, and its title or a part of it that no other test has. */
  readonly spec: string;
  readonly test: string;
}
