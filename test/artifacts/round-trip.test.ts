import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { isUtf8 } from 'node:buffer';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { collect } from '../../processors/stages/collect.ts';
import { artifactNameProblem } from '../../src/artifacts/artifact-name.ts';
import { LEFT_OUT_NAME } from '../../src/artifacts/archive.ts';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import { FlashpodsClient } from '../../src/client/client.ts';
import { fetchArtifacts } from '../../src/client/fetch-artifacts.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import type { Job } from '../../src/jobs/job.ts';
import { makeCompleted } from '../api/job-states.ts';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { connectionTo } from '../client/wire-server.ts';
import { silent } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { makeTree, readTree, treeArbitrary, type TreeNode } from '../support/trees.ts';

const run = promisify(execFile);

/** What can be an artifact: nothing below a name that can't. @param others links whose targets are written in another way */
function expected(nodes: readonly TreeNode[], others: ReadonlySet<string>): TreeNode[] {
  const isName = (path: string): boolean => {
    const bytes = Buffer.from(path, 'latin1');
    return isUtf8(bytes) && artifactNameProblem(bytes.toString()) === null;
  };
  return nodes.filter(({ path }) => path !== '.' && isName(path) && !others.has(path));
}

describe('artifacts, from a job and back', () => {
  let api: RunningApi;
  let client: FlashpodsClient;
  let scratch: Awaited<ReturnType<typeof temporaryDirectory>>;
  let count = 0;

  before(async () => {
    api = await startApi({ rate: { perSecond: 100_000, burst: 100_000 } });
    scratch = await temporaryDirectory();
    const connection = connectionTo(`http://127.0.0.1:${api.port}`);
    client = new FlashpodsClient({ ...connection, token: api.token });
  });
  after(async () => {
    client.close();
    await api.stop();
    await scratch.remove();
  });

  /** Collects what lies in `source` as that of a job which has ended. @returns the job's id */
  async function collected(
    source: string,
    settings: Partial<{ artifactMaxFiles: number }> = {},
  ): Promise<string> {
    const id = await api.caller.submit('true');
    const config = {
      artifactMaxFileMb: 1_024,
      artifactMaxTotalMb: 2_048,
      artifactMaxFiles: 10_000,
      ...settings,
    };
    const sandbox = { artifactsPath: () => Promise.resolve(source) } as Pick<Sandbox, 'artifactsPath'>;
    const store = new LocalArtifactStore(join(api.dir, 'artifacts'));
    const { artifacts, warnings, failure } = await collect(
      { config, artifacts: store } as never,
      { id, artifacts: [] as readonly string[] } as Job,
      sandbox as Sandbox,
      new AbortController().signal,
      silent,
    );
    assert.equal(failure, null);
    const { epoch } = await makeCompleted(api.store, id, artifacts);
    await api.store.patch(id, epoch, { artifactWarnings: warnings });
    return id;
  }

  async function fetched(id: string, directory: string, match: readonly string[] = []): Promise<string[]> {
    const list = await client.artifacts(id, undefined, match);
    const paths: string[] = [];
    for await (const each of fetchArtifacts(client, id, list, directory, { force: false, match })) {
      assert.ok('path' in each, JSON.stringify(each));
      paths.push(each.path.slice(directory.length + 1));
    }
    return paths.sort();
  }

  async function unpacked(id: string, directory: string, query = ''): Promise<Response> {
    const answer = await api.caller.fetch(`/jobs/${id}/artifacts.tar.gz${query}`);
    await mkdir(directory);
    await writeFile(`${directory}.tgz`, Buffer.from(await answer.arrayBuffer()));
    await run('tar', ['xzpf', `${directory}.tgz`, '-C', directory]);
    return answer;
  }

  it('have the same names, modes, times, links, empty directories and bytes, one by one and in the archive', async () => {
    await fc.assert(
      fc.asyncProperty(treeArbitrary({ maxEntries: 35, outwardLinks: false }), async (nodes) => {
        const at = scratch.path;
        const [source, out, archive] = ['source', 'out', 'archive'].map((name) =>
          join(at, `${name}${count}`),
        );
        count += 1;
        assert.ok(source && out && archive);
        await makeTree(source, nodes);
        const others = new Set(nodes.filter(({ target }) => target?.includes('..')).map(({ path }) => path));
        const wanted = expected(readTree(source), others);
        const id = await collected(source);
        await fetched(id, out);
        assert.deepEqual(expected(readTree(out), others), wanted);
        await unpacked(id, archive);
        assert.deepEqual(expected(readTree(archive), new Set([...others, LEFT_OUT_NAME])), wanted);
      }),
      { numRuns: 4 },
    );
  });

  it('are found by directories and globs, in lists, one by one and in the archive', async () => {
    const source = join(scratch.path, 'globs');
    await mkdir(join(source, 'build/deep'), { recursive: true });
    await chmod(join(source, 'build'), 0o750);
    for (const name of ['build/app', 'build/deep/x.xml', 'top.xml', 'other'])
      await writeFile(join(source, name), name);
    const id = await collected(source);
    assert.deepEqual(await fetched(id, join(scratch.path, 'g1'), ['build/**']), [
      'build/app',
      'build/deep/x.xml',
    ]);
    assert.deepEqual(await fetched(id, join(scratch.path, 'g2'), ['**/*.xml', 'other']), [
      'build/deep/x.xml',
      'other',
      'top.xml',
    ]);
    await unpacked(id, join(scratch.path, 'g3'), '?match=build/deep&match=oth*');
    assert.deepEqual(
      readTree(join(scratch.path, 'g3'))
        .map(({ path, mode }) => `${path} ${(mode & 0o777).toString(8)}`)
        .slice(1),
      ['build 750', 'build/deep 755', 'build/deep/x.xml 644', 'other 644'],
    );
    const wrong = await api.caller.json<{ error: string }>('GET', `/jobs/${id}/artifacts?match=../x`);
    assert.deepEqual([wrong.status, wrong.body.error], [400, 'invalid_request']);
  });

  it('come as they are when they are many: 300 in pages and in one archive', async () => {
    const source = join(scratch.path, 'many');
    await mkdir(source);
    await run('bash', ['-c', 'perl -e \'for (1..300) { open F, ">f$_"; print F $_; close F }\''], {
      cwd: source,
    });
    const id = await collected(source);
    interface Page {
      artifacts: { name: string }[];
      next_cursor: string | null;
      total: number;
    }
    const names: string[] = [];
    let cursor = '';
    for (let pages = 0; pages < 4; pages++) {
      const { body } = await api.caller.json<Page>('GET', `/jobs/${id}/artifacts?limit=100${cursor}`);
      assert.equal(body.total, 300);
      names.push(...body.artifacts.map(({ name }) => name));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    assert.equal(new Set(names).size, 300);
    assert.equal(names.length, 300);
    assert.equal((await fetched(id, join(scratch.path, 'many-out'))).length, 300);
    await run('diff', ['-r', source, join(scratch.path, 'many-out')]);
  });

  it('say wherever they are listed or fetched that some are missing', async () => {
    const source = join(scratch.path, 'partly');
    await mkdir(source);
    for (const name of ['a', 'b', 'c']) await writeFile(join(source, name), name);
    await run('mkfifo', ['pipe'], { cwd: source });
    const id = await collected(source, { artifactMaxFiles: 2 });
    const { body } = await api.caller.json<{ complete: boolean; warnings: string[]; total: number }>(
      'GET',
      `/jobs/${id}/artifacts`,
    );
    assert.deepEqual([body.complete, body.total], [false, 2]);
    assert.match(
      body.warnings.join('\n'),
      /"pipe" was left out: a FIFO.*\n1 more files were left out: the limit is 2/,
    );
    const answer = await unpacked(id, join(scratch.path, 'partly-out'));
    assert.equal(answer.headers.get('x-artifacts-complete'), 'false');
    const { stdout } = await run('cat', [join(scratch.path, 'partly-out', LEFT_OUT_NAME)]);
    assert.match(stdout, /"pipe" was left out[^]*1 more files/);
  });

  it('have their mode, time and target with their bytes, and those of what they lead to', async () => {
    const source = join(scratch.path, 'single');
    await mkdir(join(source, 'void'), { recursive: true });
    await run(
      'bash',
      [
        '-euc',
        'echo x > run; chmod 751 run; touch -d 2026-01-02T03:04:05.123456789Z run; ln -s run latest; ln -s void d',
      ],
      {
        cwd: source,
      },
    );
    const id = await collected(source);
    for (const name of ['run', 'latest']) {
      const answer = await api.caller.fetch(`/jobs/${id}/artifacts/${name}`);
      assert.equal(await answer.text(), 'x\n');
      assert.equal(answer.headers.get('x-artifact-mode'), '0751');
      assert.equal(answer.headers.get('x-artifact-mtime'), '2026-01-02T03:04:05.123456789Z');
      assert.equal(answer.headers.get('last-modified'), 'Fri, 02 Jan 2026 03:04:05 GMT');
      assert.equal(answer.headers.get('x-artifact-link-target'), name === 'run' ? null : 'run');
    }
    for (const name of ['void', 'd']) {
      const { status, body } = await api.caller.json<{ error: string }>(
        'GET',
        `/jobs/${id}/artifacts/${name}`,
      );
      assert.deepEqual([status, body.error], [404, 'artifact_not_a_file']);
    }
    await rm(source, { recursive: true });
  });
});
