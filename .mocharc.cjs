module.exports = {
  spec: ['test/**/*.test.ts'],
  require: ['test/support/leaks.ts'],
  timeout: 300_000,
  slow: 5_000,
  'forbid-only': true,
  'forbid-pending': true,
};
