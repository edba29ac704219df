import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { DispatchRecords } from '../../processors/dispatch-records.ts';
import { scratch } from '../support/scratch.ts';

describe('dispatch records', () => {
  const dir = scratch();
  const usage = { peakMemoryBytes: 4_096, cpuSeconds: 0.5, bytesWritten: null, maxProcesses: 3 };
  const old = { peak_memory_bytes: 4_096, cpu_seconds: 0.5, bytes_written: null, max_processes: 3 };
  const id = 'job_aaaaaaaaaaaa';
  const record = {
    jobId: id,
    epoch: 2,
    phase: 'ended' as const,
    bootId: 'this',
    end: {
      exitCode: 0,
      endedAt: 5,
      verdict: { usage, oomKilled: false, diskFull: false, pidsExhausted: false },
      logTruncated: false,
      logIncomplete: false,
    },
  };

  it('of the version before are read: its worker had died after the end of a job', async () => {
    const directory = await dir.make();
    const { end } = record;
    const before = { ...record, end: { ...end, verdict: { ...end.verdict, usage: old } } };
    await writeFile(join(directory, `${id}-2.json`), JSON.stringify(before));
    const records = new DispatchRecords(directory);
    await records.open();
    assert.deepEqual(await records.read(id, 2), record);
    await records.write(record);
    assert.deepEqual(await records.all(), [record]);
  });
});
