/**
 * Which spec files run beside which. Two cores are not kept busy by one mocha: most tests wait for something.
 * Patterns of spec files, as mocha takes them.
 */

/** With real containers. They share a Podman storage and run one after another: some of them prune it. */
const containers = [
  'test/bin/**/*.test.ts',
  'test/containers/**/*.test.ts',
  'test/doctor/**/*.test.ts',
  'test/e2e/**/*.test.ts',
  'test/faults/!(dispatchers|guards).test.ts',
  'test/processors/{agent,caches,packages,supervision,worker}.test.ts',
  'test/real-projects/**/*.test.ts',
  'test/scripts/**/*.test.ts',
  'test/support/**/*.test.ts',
];

/** Without containers, and yet 3 seconds or more each. `npm run test:fast` leaves them out. */
const long = [
  'test/api/{accepted,authentication,events,health-outages,log-everywhere,openapi-contract,rate-limit,tokens,uploads,uploads-hostile,uploads-rsync,without-worker}.test.ts',
  'test/artifacts/{collector,round-trip}.test.ts',
  'test/cli/{completion,process,run,shell-quote,terminal}.test.ts',
  'test/client/{foreign-repository,transports,upload-directory,what-goes-along}.test.ts',
  'test/faults/{dispatchers,guards}.test.ts',
  'test/jobs/git.test.ts',
  'test/logs/{log-capture,log-reader}.test.ts',
  'test/mcp/{broken-messages,conformance,hostile-jobs,http,stdio,tools}.test.ts',
  'test/processors/{cleaner,ending}.test.ts',
  'test/queues/{dispatcher,dispatcher-crashes,dispatcher-outages,fairness,heartbeat,host-consumer,intake,waiting}.test.ts',
  'test/tree-process/tree-processes.test.ts',
  'test/uploads/{snapshots-of-before,rsync/no-way-out,tar/extract-tar}.test.ts',
];

module.exports = { containers, long };
