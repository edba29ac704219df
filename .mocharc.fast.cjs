/** Without containers and without what takes long: under 90 seconds on two cores. */
const all = require('./.mocharc.cjs');

module.exports = {
  ...all,
  ignore: [
    'test/bin/**',
    'test/containers/**',
    'test/doctor/**',
    'test/e2e/**',
    'test/faults/!(guards).test.ts',
    'test/processors/{agent,supervision,worker}.test.ts',
    'test/scripts/**',
    'test/support/**',
  ],
};
