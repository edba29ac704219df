/**
 * Mocha's `spec` reporter, which also says which spec files took longest, and writes the numbers into the file that
 * FLASHPODS_TEST_COUNTS names: a line `PASSES 0`, and a line `0 1 TITLE: MESSAGE` for each failure.
 */
const { writeFileSync } = require('node:fs');
const { relative } = require('node:path');
const { reporters, Runner } = require('mocha');

const SHOWN = 20;
const MESSAGE_CHARACTERS = 300;
const { EVENT_RUN_END, EVENT_SUITE_BEGIN, EVENT_SUITE_END, EVENT_TEST_FAIL } = Runner.constants;

module.exports = class CountingReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    // Hooks count as well: many a file spends most of its time there.
    const began = new Map();
    const took = new Map();
    runner.on(EVENT_SUITE_BEGIN, (suite) => began.set(suite, performance.now()));
    runner.on(EVENT_SUITE_END, (suite) => {
      if (suite.root || !suite.parent.root) return;
      const file = relative(process.cwd(), suite.file ?? '');
      took.set(file, (took.get(file) ?? 0) + performance.now() - began.get(suite));
    });
    // Before the summary, which is to be the last.
    const failures = [];
    runner.on(EVENT_TEST_FAIL, (test, error) => {
      const [message] = String(error?.message ?? error).split('\n');
      failures.push(
        `0 1 ${test.fullTitle().replaceAll('\n', ' ')}: ${message.slice(0, MESSAGE_CHARACTERS)}\n`,
      );
    });
    runner.prependOnceListener(EVENT_RUN_END, () => {
      if (took.size > 1) console.log('\n  The files that took longest:');
      const slowest = took.size > 1 ? [...took].sort(([, a], [, b]) => b - a) : [];
      for (const [file, ms] of slowest.slice(0, SHOWN))
        console.log(`    ${(ms / 1_000).toFixed(1).padStart(7)} s  ${file}`);
      const counts = process.env.FLASHPODS_TEST_COUNTS;
      if (counts) writeFileSync(counts, `${this.stats.passes} 0\n${failures.join('')}`);
    });
  }
};
