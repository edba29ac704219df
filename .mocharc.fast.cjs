/** Without Podman and without what takes long: seconds instead of minutes. */
const all = require('./.mocharc.cjs');

module.exports = {
  ...all,
  ignore: [
    'test/containers/**',
    'test/e2e/**',
    'test/processors/worker.test.ts',
    'test/bin/**',
    'test/scripts/**',
  ],
};
