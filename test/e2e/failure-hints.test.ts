import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type FailedJob, failureHint } from '../../src/jobs/failure-hints.ts';
import { texts } from '../support/http.ts';
import { type Stack, startStack } from '../support/stack.ts';

/** Commands that fail for where they run, and what is to be said of that. */
const CASES: Readonly<Record<string, readonly [command: string, advice: RegExp, job?: FailedJob]>> = {
  'read-only': ['touch /work/x', /leave out `writable`/],
  'cross-device': ['echo > /tmp/x; ln /tmp/x /dev/shm/y', /Copy and delete/],
  'shared-memory': ['dd if=/dev/zero of=/dev/shm/x bs=1M count=600', /\(0\.5 GB here\).*`memory_gb`/],
  owner: ['echo > /tmp/x; chown 4 /tmp/x', /"root": true/],
  place: ['touch /etc/x', /other places belong to root/],
  mode: ['cd /tmp && echo true > run && ./run', /`chmod \+x`/],
  format: ["cd /tmp && printf '\\177ELFx' > x && chmod +x x && bash -c ./x", /another processor/],
  shell: ["sh -c '[[ 1 = 1 ]]'", /bash FILE/],
  arguments: ['/bin/echo $(seq 700000)', /xargs/],
  name: ["bash -c 'exec 3<>/dev/tcp/example.org/80'", /leave it out to reach the internet/],
  service: ["bash -c 'exec 3<>/dev/tcp/127.0.0.1/9'", /start the service itself/],
  input: ['stty -echo', /no input/],
  makefile: ['cd /tmp && make', /No files were sent/],
  repository: ['cd /tmp && git status', /`files\.git: true`/],
  module: ["python3 -c 'import nothing_of_the_kind'", /no Python module nothing_of_the_kind/],
  answer: ["python3 -c 'input()'", /no input/],
};

describe('what to do about failures of real commands', () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({ workers: [{ name: 'one', cpus: 1, memoryGb: 1 }] });
  });
  after(() => stack.stop());

  it('is found in what they print in a job', async function () {
    this.timeout(300_000);
    // In one container; a program that the image lacks is left out.
    const script = Object.entries(CASES).map(
      ([name, [command]]) => `echo '== ${name}'; (${command}) 2>&1 | head -c 4000; rm -rf /tmp/x /dev/shm/x`,
    );
    const id = await stack.caller.submit(`${script.join('\n')}\nexit 1`, { merge: true });
    const job = (await stack.caller.ended(id, 200_000)) as unknown as FailedJob;
    const output = texts(await stack.caller.output(id)).join('\n');
    let tried = 0;
    for (const section of output.split(/^== /m).slice(1)) {
      const [name = '', ...lines] = section.split('\n');
      const advice = CASES[name]?.[1];
      if (advice === undefined || (/: (?:command )?not found$/m.test(lines[0] ?? '') && name !== 'shell'))
        continue;
      tried += 1;
      assert.match(failureHint({ ...job, error: null }, lines) ?? 'nothing', advice, section);
    }
    assert.ok(tried >= 12, output);
  });
});
