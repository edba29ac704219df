/** Import arrows point one way: bin → api, processors → queues → src (docs/architecture.md). */
module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'src-knows-nobody',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(bin|api|queues|processors)/' },
    },
    {
      name: 'queues-know-src-only',
      severity: 'error',
      from: { path: '^queues/' },
      to: { path: '^(bin|api|processors)/' },
    },
    {
      name: 'api-and-processors-apart',
      severity: 'error',
      from: { path: '^api/' },
      to: { path: '^(bin|processors)/' },
    },
    {
      name: 'processors-and-api-apart',
      severity: 'error',
      from: { path: '^processors/' },
      to: { path: '^(bin|api)/' },
    },
    {
      name: 'jobs-import-no-transport',
      severity: 'error',
      from: { path: '^src/jobs/' },
      to: { path: 'node_modules/(koa|@koa|bullmq|ioredis|knex|better-sqlite3)' },
    },
    {
      // Routes, processors and clients are given a store and ids; where the files lie is the store's own business.
      // Names, globs and link targets are texts, and a sandbox's spool belongs to no store.
      name: 'files-behind-stores',
      severity: 'error',
      from: { path: '^(api|queues|processors|src/(jobs|client|mcp))/' },
      to: {
        path: '^src/(logs|artifacts|uploads)/',
        pathNot:
          '/((log|artifact|snapshot|upload)-store|service|upload|rsync|tar-intake|archive|artifact-name|globs|work-patterns|link-target|manifest|spool-lines)\\.ts$',
      },
    },
    {
      name: 'cli-stays-light',
      severity: 'error',
      from: { path: '^src/(cli|client)/' },
      to: { path: 'node_modules/(koa|@koa|bullmq|ioredis|knex|better-sqlite3)/' },
    },
    {
      name: 'product-does-not-import-tests',
      severity: 'error',
      from: { path: '^(bin|api|queues|processors|src)/' },
      to: { path: '^(test|bench)/' },
    },
    { name: 'not-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
