import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type Aftermath, checkAftermath } from './harness/aftermath.ts';
import type { Fault } from './harness/plan.ts';
import { type FaultScene, startScene, type SubmittedJob } from './harness/scene.ts';

interface Step {
  readonly title: string;
  readonly at: Fault['at'];
  readonly containing?: readonly string[];
  /** Killed there, the job's command is held at its gate until the successor is there: it is adopted running. */
  readonly adopted?: readonly Fault['when'][];
  /** The host gets the job only from its successor. */
  readonly undispatched?: boolean;
}

/** All that a worker does with a dispatch that others than itself could notice, in its order. */
const STEPS: readonly Step[] = [
  { title: 'the claim', at: 'Semaphore.claim' },
  {
    title: 'the look for the image, which comes before the dispatch',
    at: 'HostRuntime.ensureImage',
    undispatched: true,
  },
  { title: 'making the sandbox', at: 'HostRuntime.provision' },
  { title: 'creating the container', at: 'PodmanSandbox.bind' },
  {
    title: 'writing down that it is created',
    at: 'DispatchRecords.write',
    containing: ['"phase":"created"'],
  },
  { title: 'starting the container', at: 'PodmanSandbox.start', adopted: ['after'] },
  {
    title: 'writing down that it is started',
    at: 'DispatchRecords.write',
    containing: ['"phase":"started"'],
    adopted: ['after'],
  },
  {
    title: 'telling that the job runs',
    at: 'KnexJobStore.transition',
    containing: ['"to":"running"'],
    adopted: ['after'],
  },
  { title: 'waiting for the exit', at: 'PodmanSandbox.waitForExit', adopted: ['before'] },
  { title: 'deciding why it ended', at: 'KnexJobStore.decideEnding' },
  { title: 'reading the verdict', at: 'PodmanSandbox.verdict' },
  { title: 'writing down how it ended', at: 'DispatchRecords.write', containing: ['"phase":"ended"'] },
  { title: 'removing the container', at: 'PodmanSandbox.remove' },
  { title: 'releasing the reservation', at: 'Semaphore.release' },
  { title: 'collecting the artifacts', at: 'LocalArtifactStore.collect' },
  { title: 'putting the artifacts into their place', at: 'fs.rename', containing: ['/artifacts/job_'] },
  {
    title: 'writing the terminal state',
    at: 'KnexJobStore.transition',
    containing: ['"artifactWarnings"'],
  },
  { title: 'removing the sandbox', at: 'PodmanSandbox.dispose' },
  { title: 'removing the dispatch record', at: 'DispatchRecords.remove' },
];

/** Leads the dispatch and takes no job, so that the worker that dies is never the dispatcher as well. */
const ANCHOR = { name: 'anchor', cpus: 1, memoryGb: 1 };
const AT_ONCE = 4;
/** What is after one step is mostly before the next: both for every step only where there is time. */
const FULL = process.env['FLASHPODS_FAULTS'] === 'full';

const CASES = STEPS.flatMap((step, index) =>
  (['before', 'after'] as const)
    .filter((when) => FULL || when === 'before' || step.adopted?.includes(when) || step === STEPS.at(-1))
    .map((when) => ({
      title: `${when} ${step.title}`,
      host: { name: `${when}-${index}`, cpus: 1, memoryGb: 1 },
      exitCode: (index * 2 + (when === 'after' ? 1 : 0)) % 7,
      gated: step.adopted?.includes(when) ?? false,
      undispatched: step.undispatched ?? false,
      fault: {
        at: step.at,
        when,
        do: 'SIGKILL',
        ...(step.containing === undefined ? {} : { containing: step.containing }),
      } satisfies Fault,
    })),
);
type Case = (typeof CASES)[number];

describe('a worker killed between two steps', () => {
  let scene: FaultScene;
  let aftermath: Aftermath;
  const signals = new Map<string, NodeJS.Signals | null>();

  before(async function () {
    this.timeout(900_000); // each wave waits for four workers to start, twice
    scene = await startScene({
      hosts: [ANCHOR, ...CASES.map(({ host }) => host)],
      started: [ANCHOR],
      // Longer than a wave: what nobody has claimed waits for the successor.
      env: { FLASHPODS_LEASE_SECONDS: '120' },
    });
    await scene.drain(ANCHOR.name, true);
    for (let from = 0; from < CASES.length; from += AT_ONCE) await killAll(CASES.slice(from, from + AT_ONCE));
    aftermath = await checkAftermath(scene);
  });
  after(() => scene.stop());

  /** Starts the workers, gives each its own job, and starts a successor of each once it has died of it. */
  async function killAll(cases: readonly Case[]): Promise<void> {
    const workers = await Promise.all(
      cases.map(async (each) => {
        const worker = await scene.startWorker(each.host, { faults: [each.fault] });
        await scene.drain(each.host.name, true);
        return worker;
      }),
    );
    const jobs: SubmittedJob[] = [];
    for (const [index, { host, exitCode, gated, undispatched, ...each }] of cases.entries()) {
      const worker = workers[index];
      const successor = undispatched ? worker?.exited.then(() => scene.startWorker(host)) : undefined;
      jobs.push(await scene.submitTo(host.name, { exitCode, gated }));
      await successor;
      signals.set(each.title, (await worker?.exited)?.signal ?? null);
    }
    await Promise.all(cases.filter((each) => !each.undispatched).map(({ host }) => scene.startWorker(host)));
    for (const { told } of jobs) told.open();
  }

  for (const each of CASES) {
    it(`${each.title}: its successor carries the job to its end, once`, () => {
      assert.equal(signals.get(each.title), 'SIGKILL', 'it came to that step and died there');
      const ran = aftermath.jobs.filter((job) => job.host === each.host.name);
      assert.deepEqual(
        ran.map((job) => job.epoch),
        [1],
        'and the job stayed on its host, under its first dispatch',
      );
    });
  }
});
