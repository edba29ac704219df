// Not by `import`: see src/client/environment.ts.
const { readFileSync } = process.getBuiltinModule('node:fs');

/** The version in package.json, beside the code in a checkout and in the published package alike. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
