import { OverBudget, type TreeBudget } from '../trees/budget.ts';
import { stepsOf } from './link-target.ts';

/** What lies at a path of the tree: a symlink's target, or what it is; null: nothing that is known. */
export type Looked = { readonly target: string } | 'file' | 'directory' | 'other' | null;

export type LinkEnd =
  | { readonly kind: 'file' | 'directory' | 'missing'; readonly path: readonly string[] }
  | { readonly kind: 'outside' | 'loop' | 'other' | 'exhausted' };

/** What one segment of a target costs. */
const STEPS = 4;
/** As many as Linux follows. */
const MAX_LINKS = 40;

/**
 * Follows symlinks by hand within a tree, so that the kernel never leaves it. All links of a collection share its
 * budget: a job can't make this take longer by making more of them.
 */
export class LinkFollower {
  readonly #look: (path: readonly string[]) => Promise<Looked>;
  readonly #mount: string;
  readonly #budget: TreeBudget;

  /** @param mount name in `/` under which the maker of the links saw the tree: targets by way of it stay inside */
  constructor(mount: string, look: (path: readonly string[]) => Promise<Looked>, budget: TreeBudget) {
    this.#mount = mount;
    this.#budget = budget;
    this.#look = look;
  }

  /**
   * Where a link in `directory` leads; no segment of that is a link. Behind something that is missing, names are taken
   * as they are.
   */
  async follow(directory: readonly string[], target: string): Promise<LinkEnd> {
    try {
      return await this.#follow(directory, target);
    } catch (error) {
      if (error instanceof OverBudget) return { kind: 'exhausted' };
      throw error;
    }
  }

  async #follow(directory: readonly string[], target: string): Promise<LinkEnd> {
    let links = 1;
    let missing = false;
    // Where it stands, from the root; null: at `/`, which holds the mount.
    let here: string[] | null = target.startsWith('/') ? null : [...directory];
    const ahead = stepsOf(target).reverse();
    for (;;) {
      const step = ahead.pop();
      if (step === undefined) break;
      // A path is put together, and looked up, once a step.
      this.#budget.step(STEPS);
      if (here === null) {
        if (step === '..') continue;
        if (step !== this.#mount) return { kind: 'outside' };
        here = [];
        continue;
      }
      if (step === '..') {
        if (here.length === 0) here = null;
        else here.pop();
        continue;
      }
      here.push(step);
      const found = missing ? null : await this.#look(here);
      if (found === null) missing = true;
      else if (typeof found === 'object') {
        if (++links > MAX_LINKS) return { kind: 'loop' };
        if (found.target.startsWith('/')) here = null;
        else here.pop();
        ahead.push(...stepsOf(found.target).reverse());
      } else if (found !== 'directory') {
        if (ahead.length > 0) missing = true;
        else return found === 'file' ? { kind: 'file', path: here } : { kind: 'other' };
      }
    }
    if (here === null) return { kind: 'outside' };
    return { kind: missing ? 'missing' : 'directory', path: here };
  }
}
