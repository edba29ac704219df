import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { FlashpodsError } from '../../src/errors.ts';
import type { Job } from '../../src/jobs/job.ts';
import { AGENT_ENTRYPOINT, makeImage, type TestImage } from '../support/agent-image.ts';
import { eventually } from '../support/eventually.ts';
import { type Farm, startFarm } from '../support/farm.ts';
import { fingerprint, giveTo, makeRepository } from '../support/repository.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Jobs of type agent on a real worker. A minute of timeout is a second here. */
describe('an agent job', () => {
  let farm: Farm;
  let image: TestImage;
  let repository: string;
  before(async () => {
    [farm, image] = await Promise.all([
      startFarm({ minuteMs: 1_000, config: { graceSeconds: 1, jobDiskMb: 64 } }),
      makeImage(),
    ]);
    const directory = mkdtempSync(join(tmpdir(), 'fp-repository-'));
    repository = join(directory, 'work');
    mkdirSync(repository);
    makeRepository(repository);
    giveTo(farm.runtime.facts.idBase, directory);
  });
  after(async () => {
    await farm?.stop();
    await image?.remove();
    rmSync(dirname(repository), { recursive: true });
  });

  const agent = (task: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
    type: 'agent',
    image: image.name,
    task,
    git_branch: 'fix/exit-code',
    ...more,
  });
  const artifact = (job: Job, name: string): Promise<string> =>
    readFile(join(farm.config.artifactsPath, job.id, name), 'utf8');
  /** Runs it to its good end. @returns what it printed */
  const lines = async (task: string, more?: Record<string, unknown>): Promise<string[]> => {
    const job = await farm.run(agent(task, more));
    const texts = await farm.texts(job.id);
    assert.equal(job.status, 'completed', [job.error, job.errorMessage, ...texts].join('\n'));
    return texts;
  };

  it('edits its upload, commits with git and leaves a patch, and the upload stays as it was', async () => {
    const before = fingerprint(repository);
    const filesId = await farm.adoptSnapshot(repository);
    const task = `set -e
      git config --global user.name Agent && git config --global user.email agent@localhost
      git checkout -q -b "$FLASHPODS_GIT_BRANCH"
      sed -i 's/return 1/return 0/' src/main.c
      rm README.md; chmod 700 src; ln -f src/main.c src/hard; mv link renamed
      git add -A && git commit -q -m "return 0"
      git gc -q
      git format-patch --stdout main > /artifacts/changes.patch
      git fsck --strict && git status --porcelain`;
    const job = await farm.run(agent(task, { files_id: filesId }));
    assert.equal(job.status, 'completed', (await farm.texts(job.id)).join('\n'));
    const patch = await artifact(job, 'changes.patch');
    assert.match(patch, /^-int main\(void\) \{ return 1; \}$/m);
    assert.match(patch, /^\+int main\(void\) \{ return 0; \}$/m);
    assert.equal(fingerprint(repository), before);
  });

  it('without files finds an empty /work, and may write there', async () => {
    const texts = await lines('pwd; ls -A; git init -q . && echo x > file && ls -A; stat -c %u .');
    assert.deepEqual(texts, ['/work', '.git', 'file', '1000']);
  });

  it('is told who it is and what to do, in variables and in files', async () => {
    const task =
      'env | grep ^FLASHPODS_ | sort; cat /run/flashpods/{context,task}; cd /run/flashpods; stat -c "%a %n" . *; echo $PLAIN';
    const job = await farm.run(
      agent(task, {
        context: 'because\nof #5',
        git_url: 'https://git.example/a.git',
        env: { PLAIN: 'plain' },
      }),
    );
    assert.deepEqual(await farm.texts(job.id), [
      'FLASHPODS_CONTEXT=because',
      'FLASHPODS_CPUS=1',
      'FLASHPODS_GIT_BRANCH=fix/exit-code',
      'FLASHPODS_GIT_URL=https://git.example/a.git',
      `FLASHPODS_JOB_ID=${job.id}`,
      'FLASHPODS_JOB_TYPE=agent',
      'FLASHPODS_MEMORY_MB=1024',
      `FLASHPODS_TASK=${task}`,
      'because',
      `of #5${task}755 .`,
      '444 context',
      '444 gitconfig',
      '444 task',
      'plain',
    ]);
  });

  it('gets a task and a context of 100,000 bytes to the byte, in variable and file, beside a large environment', async () => {
    const script = `for name in task context; do sha256sum < /run/flashpods/$name; done
      printf %s "$FLASHPODS_TASK" | sha256sum; printf %s "$FLASHPODS_CONTEXT" | sha256sum
      /bin/sh -c '/usr/bin/env true' && echo started; exit 0\n`;
    const awkward = `'"\`$(x)\\ é🦆\t\r\n\n`;
    const filled = (head: string): string => {
      const room = 100_000 - Buffer.byteLength(head);
      const text = head + awkward.repeat(Math.floor(room / Buffer.byteLength(awkward)));
      return text + '\n'.repeat(100_000 - Buffer.byteLength(text));
    };
    const [task, context] = [filled(script), filled('')];
    const env = Object.fromEntries(['A', 'B', 'C', 'D'].map((name) => [name, 'x'.repeat(99_000)]));
    const sums = [task, context, task, context].map((text) => `${sha256(text)}  -`);
    assert.deepEqual(await lines(task, { context, env }), [...sums, 'started']);
  });

  it('does not see what another agent on the same upload does', async () => {
    const meet = `touch $FLASHPODS_JOB_ID; echo $FLASHPODS_JOB_ID >> README.md; sleep 1.5; ls job_*; grep -c job_ README.md`;
    const jobs = await Promise.all(
      [1, 2].map(async () => farm.run(agent(meet, { files_id: await farm.adoptSnapshot(repository) }))),
    );
    const [a, b] = jobs;
    assert.ok((a?.startedAt ?? 0) < (b?.completedAt ?? 0) && (b?.startedAt ?? 0) < (a?.completedAt ?? 0));
    for (const job of jobs) assert.deepEqual(await farm.texts(job.id), [job.id, '1']);
  });

  it('that fills /work fills its own disk and no other', async () => {
    const filesId = await farm.adoptSnapshot(repository);
    const job = await farm.run(agent('head -c 200m /dev/zero > big', { files_id: filesId }));
    assert.deepEqual([job.status, job.error], ['failed', 'disk_limit']);
  });

  it('that takes too long is asked to end, and what it left by then is kept', async () => {
    const task = `trap 'git diff > /artifacts/changes.patch; exit 0' TERM; echo more >> README.md; sleep 60 & wait`;
    const job = await farm.run(
      agent(task, { files_id: await farm.adoptSnapshot(repository), timeout_minutes: 1 }),
    );
    assert.deepEqual([job.status, job.error], ['timed_out', 'Job exceeded timeout limit']);
    assert.match(await artifact(job, 'changes.patch'), /^\+more$/m);
  });

  it('is cancelled like any other job', async () => {
    const { id } = await farm.submit(agent('echo begun; sleep 60'));
    await eventually('it prints', async () =>
      (await farm.texts(id).catch((): string[] => [])).includes('begun'),
    );
    await farm.jobs.cancel(id, null);
    assert.equal((await farm.ended(id)).status, 'cancelled');
  });

  it('of an image with nothing to run fails and says so', async () => {
    const empty = await makeImage(['ENTRYPOINT []', 'CMD []']);
    try {
      const job = await farm.run(agent('true', { image: empty.name }));
      assert.deepEqual([job.status, job.error], ['failed', 'container_start_failed']);
      assert.match(job.errorMessage ?? '', /neither ENTRYPOINT nor CMD/);
    } finally {
      await empty.remove();
    }
  });

  it('of an image whose entrypoint is not there fails, and its log says so', async () => {
    const broken = await makeImage(['ENTRYPOINT ["/usr/bin/no-such-agent"]']);
    try {
      const job = await farm.run(agent('true', { image: broken.name }));
      assert.deepEqual([job.status, job.error], ['failed', 'Command exited with code 1']);
      assert.match((await farm.texts(job.id)).join(), /exec.*no such file/i);
    } finally {
      await broken.remove();
    }
  });

  it('can’t reach the snapshot, the files that it is told by, or another agent', async () => {
    const before = fingerprint(repository);
    const secret = `marker-${process.pid}`;
    const [other, filesId] = await Promise.all([
      farm.submit(agent(`echo ${secret} > /work/mine; echo begun; sleep 30`, { context: secret })),
      farm.adoptSnapshot(repository),
    ]);
    await eventually('it prints', async () =>
      (await farm.texts(other.id).catch((): string[] => [])).includes('begun'),
    );
    const attempts = [
      'echo x > /run/flashpods/task',
      'rm /run/flashpods/context',
      'touch /run/flashpods/token.sock',
      'mount -o remount,rw /run/flashpods',
      'mount -o remount,bind,rw /run/flashpods',
      'mount -t tmpfs none /run/flashpods',
      'umount /run/flashpods',
      'umount /work',
      'mount -o remount,dev,suid /work',
      'unshare -Urm mount -o remount,bind,rw /run/flashpods',
      'unshare -Urm umount /work',
      'mknod /work/device b 7 0',
      'mknod /work/whiteout c 0 0',
      'chown 4294967294 /work/README.md',
      'nsenter -t 1 -m -U true',
      `grep -rqs ${secret.replace('m', '[m]')} /proc/*/environ /proc/*/cmdline /run /tmp /work /var/tmp /artifacts /home`,
      'ls /proc/1/root/../sandboxes',
    ];
    const task = `chmod -R a+rwX .; find . -type f -exec sh -c 'echo over > "$1"' - {} \\; ; rm -rf .git
      while read -r attempt; do (eval "$attempt") > /dev/null 2>&1 && echo "done: $attempt"; done << 'END'
${attempts.join('\n')}
END
      exit 0`;
    assert.deepEqual(await lines(task, { files_id: filesId }), []);
    assert.equal(fingerprint(repository), before);
    await farm.jobs.cancel(other.id, null);
    await farm.ended(other.id);
  });

  for (const [what, user] of [
    ['a number and a group', '1234:1234'],
    ['a name', 'coder'],
  ] as const)
    it(`of an image whose USER is ${what} owns its files as that user`, async () => {
      const own = await makeImage(['COPY passwd /etc/passwd', `USER ${user}`, AGENT_ENTRYPOINT], {
        passwd: `root:x:0:0::/:/bin/sh\ncoder:x:1234:0::/:/bin/sh\n`,
      });
      try {
        const before = fingerprint(repository);
        const task = `id -u; stat -c %u . src/main.c .git /artifacts; git config --global user.name A; git config --global user.email a@localhost
          echo more >> src/main.c && git commit -qam more && git log --format=%s && git diff HEAD~ > /artifacts/p`;
        for (let run = 1; run <= 2; run += 1) {
          const filesId = await farm.adoptSnapshot(repository);
          const texts = await lines(task, { files_id: filesId, image: own.name });
          assert.deepEqual(texts, [...Array<string>(5).fill('1234'), 'more', 'first'], `run ${run}`);
        }
        assert.deepEqual(await lines('touch made; stat -c %u . made', { image: own.name }), ['1234', '1234']);
        assert.equal(fingerprint(repository), before);
      } finally {
        await own.remove();
      }
    });

  it('leaves nothing on its host', async () => {
    await eventually('no sandbox is left', async () => (await farm.runtime.sandboxes()).length === 0);
  });

  it('is refused without its task or branch, and with what only workers have', async () => {
    for (const [request, code] of [
      [{ ...agent('x'), command: 'true' }, 'invalid_request'],
      [{ ...agent(''), task: '' }, 'missing_task'],
      [agent('x', { git_branch: '' }), 'missing_git_branch'],
      [agent('x', { git_branch: '-f' }), 'invalid_request'],
      [agent('a\0b'), 'invalid_request'],
      [agent('x'.repeat(100_001)), 'invalid_request'],
    ] as const)
      await assert.rejects(farm.submit(request), (error: unknown) => {
        assert.ok(error instanceof FlashpodsError);
        assert.equal(error.code, code);
        return true;
      });
  });
});
