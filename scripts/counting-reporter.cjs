/** Mocha's `spec` reporter, which also writes the numbers into the file that FLASHPODS_TEST_COUNTS names. */
const { writeFileSync } = require('node:fs');
const { reporters, Runner } = require('mocha');

module.exports = class CountingReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const file = process.env.FLASHPODS_TEST_COUNTS;
      if (file) writeFileSync(file, `${this.stats.passes} ${this.stats.failures}\n`);
    });
  }
};
