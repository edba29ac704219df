import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'mocha';
import {
  fromRecord,
  livingOriginal,
  identify,
  identifySelf,
  isAlive,
  isStopped,
  readStat,
  sendSignal,
  toRecord,
} from '../../src/lifecycle/process-identity.ts';
import { eventually } from '../support/eventually.ts';

describe('the identity of a process', () => {
  it('is that of one start of a pid', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    const identity = identify(child.pid ?? 0);
    assert.ok(identity);
    assert.ok(isAlive(identity));
    assert.ok(!isAlive({ ...identity, startTicks: `${identity.startTicks}0` }));
    assert.equal(readStat(identity.pid)?.parent, process.pid);
    sendSignal({ ...identity, startTicks: '1' }, 'SIGKILL');
    sendSignal(identity, 'SIGSTOP');
    await eventually('it is stopped', () => isStopped(identity));
    sendSignal(identity, 'SIGKILL');
    await once(child, 'exit');
    assert.ok(!isAlive(identity));
    assert.equal(identify(identity.pid), null);
    sendSignal(identity, 'SIGKILL');
  });

  it('is found also where the name of the program looks like other fields', async () => {
    const child = spawn('bash', ['-c', `exec -a 'x' bash -c 'echo -n "a) Z (b" > /proc/self/comm; read'`]);
    await eventually('it has its name', () => readStat(child.pid ?? 0)?.state === 'S');
    assert.equal(readStat(child.pid ?? 0)?.parent, process.pid);
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  it('comes back from its record in the same pid space only', () => {
    const self = identifySelf();
    const record: unknown = JSON.parse(JSON.stringify(toRecord(self, '/')));
    assert.deepEqual(fromRecord(record, '/'), self);
    assert.equal(fromRecord({ ...toRecord(self, '/'), pidSpace: 'another boot' }, '/'), null);
    for (const wrong of [
      null,
      1,
      {},
      { ...toRecord(self, '/'), pid: 0 },
      { ...toRecord(self, '/'), startTicks: 1 },
    ])
      assert.equal(fromRecord(wrong, '/'), null);
    assert.equal(fromRecord(record, '/proc'), null, 'copied there');
    assert.deepEqual(livingOriginal(record, '/proc'), self);
    assert.equal(livingOriginal(record, '/'), null);
  });
});
