import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { execa } from 'execa';

describe('the log on a terminal', () => {
  it('obeys nothing that stands in it', async () => {
    const logger = new URL('../../src/observability/logger.ts', import.meta.url).href;
    const script = `
      const { createLogger } = await import(${JSON.stringify(logger)});
      const evil = '\\u001b]52;c;eA==\\u0007\\u009b2J\\u202e';
      createLogger({ level: 'info', role: 'api', pretty: true }).info({ err: new Error(evil), image: evil }, evil);`;
    const { stdout } = await execa(process.execPath, ['--input-type=module', '-e', script]);
    assert.match(stdout, /\\x1b]52;c;eA==\\x07\\x9b2J\\u202e image=/);
    assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });
});
