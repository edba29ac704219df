import type stringWidth from 'string-width';

/**
 * Loaded for the first text that needs it: it takes longer than the rest of a short command. `require` because `import`
 * can't be waited for in the middle of a table.
 */
let measure: typeof stringWidth | undefined;
const load = (): typeof stringWidth => {
  const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);
  return (require('string-width') as { readonly default: typeof stringWidth }).default;
};

/** Columns that a text takes on a terminal. */
export function widthOf(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  return (measure ??= load())(text);
}
