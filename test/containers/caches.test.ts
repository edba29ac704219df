import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { after, before, describe, it } from 'mocha';
import { cacheMount } from '../../src/containers/mounts.ts';
import { finished, type JobOverrides, launch, startTestPodman, type TestPodman } from '../support/podman.ts';

const NEVER = new AbortController().signal;
const PLACE = '/home/job/.cache/x';

describe('a cache as a job has it', () => {
  let podman: TestPodman;
  let directory: string;
  before(async () => {
    podman = await startTestPodman();
    directory = mkdtempSync(join(tmpdir(), 'fp-layers-'));
  });
  after(async () => {
    await podman?.end();
    if (directory) rmSync(directory, { recursive: true });
  });

  interface Ran {
    readonly output: string;
    /** What it changed, as a layer; null: nothing. */
    readonly layer: string | null;
    readonly broken: number;
  }
  let made = 0;
  /** Runs a job over these layers. */
  const run = async (layers: readonly string[], overrides: JobOverrides): Promise<Ran> => {
    const mount = cacheMount(0, PLACE, layers);
    const sandbox = await launch(podman.runtime, { moreMounts: [mount], ...overrides });
    const { output } = await finished(sandbox);
    await sandbox.remove();
    const [found] = sandbox.caches;
    assert.ok(found);
    const layer = join(directory, String((made += 1)));
    const weight = await sandbox.saveCache(found, layer, () => Promise.resolve(), NEVER);
    const broken = sandbox.brokenCaches.length;
    await sandbox.dispose();
    return { output, layer: weight === null ? null : layer, broken };
  };
  const layerOf = async (layers: readonly string[], overrides: JobOverrides): Promise<string> => {
    const { layer, output } = await run(layers, overrides);
    assert.ok(layer, output);
    return layer;
  };

  it('belongs to its user, no matter who wrote it, and shows all layers as one', async () => {
    const cold = await run([], {
      script: `ls -A ${PLACE}; stat -c "%u %a" ${PLACE} ~/.cache; touch ~/.cache/y`,
    });
    assert.equal(cold.output, '1000 755\n1000 755\n');
    assert.equal(cold.layer, null);
    const first = await layerOf([], {
      root: true,
      script: `cd ${PLACE} && mkdir -p d/e o && echo 1 > d/e/f && chown 42 d && echo 1 > gone && chmod 700 d && echo 1 > o/p`,
    });
    const second = await layerOf([first], {
      script: `cd ${PLACE} && rm gone && echo 2 >> d/e/f && rm -r o && mkdir o && echo 2 > o/q`,
    });
    const { output, layer } = await run([second, first], {
      script: `cd ${PLACE} && find . | sort && stat -c "%u %a %n" d && cat d/e/f`,
    });
    assert.equal(output, '.\n./d\n./d/e\n./d/e/f\n./o\n./o/q\n1000 700 d\n1\n2\n');
    assert.equal(layer, null);
  });

  it('takes no device, no setuid bit and no attribute of an overlay from a hostile job', async () => {
    const attribute = (name: string): string =>
      `perl -e 'print syscall(188, my $p = "file", my $n = "${name}", my $v = "y", 1, 0) < 0 ? "refused\\n" : "set\\n"'`;
    const { output, layer } = await run([], {
      root: true,
      script: `cd ${PLACE}; echo x > file; chmod 6755 file; mkdir dir; chmod 2775 dir; mkfifo pipe; ln -s /etc/shadow link
        for device in "b 7 0" "c 1 1" "c 0 0"; do mknod node $device 2>/dev/null && echo made $device; done
        ${attribute('trusted.overlay.opaque')}; ${attribute('trusted.overlay.redirect')}
        rmdir ${PLACE} 2>/dev/null; ln -sfn /etc ${PLACE} 2>/dev/null; test -L ${PLACE} && echo a link; true`,
    });
    assert.equal(output, 'refused\nrefused\n');
    assert.ok(layer);
    const { stdout } = await execa('find', [layer, '-printf', '%u %g %m %y %P\n']);
    assert.deepEqual(
      stdout
        .split('\n')
        .map((line) => line.replace(' etc', ' -'))
        .filter((line) => !line.endsWith(' ') && !/ l (?:etc|-)$/.test(line))
        .sort(),
      ['root root 755 f file', 'root root 775 d dir', 'root root 777 l link', 'root root 644 p pipe'].sort(),
    );
    assert.match((await run([layer], { script: `cat ${PLACE}/link; id -u` })).output, /1000\n$/);
  });

  it('keeps what a job does to it from the next one, and the job on its disk', async () => {
    const layer = await layerOf([], { script: `head -c 30000000 /dev/zero > ${PLACE}/big` });
    const before = statSync(join(layer, 'big')).mtimeMs;
    const { output } = await run([layer], {
      diskBytes: 64 * 2 ** 20,
      script: `cd ${PLACE} && echo x >> big && rm big && head -c 80000000 /dev/zero > more; ls; mv more ~/ 2>/dev/null; true`,
    });
    assert.match(output, /more\n$/);
    assert.equal(statSync(join(layer, 'big')).mtimeMs, before);
  });

  it('that is broken makes a cold job and no failed one', async () => {
    const missing = join(directory, 'missing');
    const { output, broken } = await run([missing], { script: `ls -A ${PLACE}; echo ran` });
    assert.deepEqual([output, broken], ['ran\n', 1]);
  });

  it('is an empty directory where no root is ours', async () => {
    const other = await startTestPodman({ root: 'read-only' });
    try {
      assert.equal(other.runtime.caches, null);
      const moreMounts = [cacheMount(0, PLACE, []), cacheMount(1, '/opt/y', [])];
      const sandbox = await launch(other.runtime, {
        moreMounts,
        script: `touch ${PLACE}/a /opt/y/b && echo ran`,
      });
      assert.equal((await finished(sandbox)).output, 'ran\n');
      await sandbox.dispose();
    } finally {
      await other.end();
    }
  });

  it('leaves no mount behind, however many layers it has', async () => {
    const layers: string[] = [];
    for (let n = 0; n < 3; n++)
      layers.unshift(await layerOf(layers, { script: `echo ${n} > ${PLACE}/${n}` }));
    const { output } = await run(layers, { script: `cat ${PLACE}/*` });
    assert.equal(output, '0\n1\n2\n');
    const { stdout } = await execa('cat', ['/proc/self/mountinfo']);
    assert.doesNotMatch(stdout, /cache-0/);
    assert.ok(layers.every((layer) => existsSync(layer)));
  });
});
