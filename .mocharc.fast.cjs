/** Without containers and without what takes long: under 90 seconds on two cores. */
const all = require('./.mocharc.cjs');
const { containers, long } = require('./scripts/lanes.cjs');

module.exports = { ...all, ignore: [...containers, ...long] };
