/** Puts the checks of `flashpods doctor` together for this machine and its settings. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventEmitter } from 'node:events';
import type { ClientEnvironment } from '../../src/client/environment.ts';
import { showFindings } from '../../src/cli/commands/doctor.ts';
import { ExitCode } from '../../src/cli/exit-code.ts';
import type { Output } from '../../src/cli/terminal.ts';
import { createKeys } from '../../queues/keys.ts';
import { Semaphore } from '../../queues/semaphore/semaphore.ts';
import { explainConfig, type Flags } from '../../src/config.ts';
import { examine } from '../../src/doctor/doctor.ts';
import { PodmanProbe } from '../../src/doctor/podman-probe.ts';
import { within } from '../../src/timing/within.ts';
import { podmanRunPath, rsyncPath } from '../data-directory.ts';

/** What we started is given this time to end. */
const END_MS = 10_000;

export interface DoctorOptions extends Flags {
  readonly json?: boolean;
  readonly url?: string;
  readonly token?: string;
}

/** @throws ConfigError */
export async function runDoctor(
  { json = false, url, token, ...flags }: DoctorOptions,
  {
    out,
    client,
    interrupts,
  }: {
    readonly out: Output;
    readonly client: ClientEnvironment;
    readonly interrupts: EventEmitter<{ interrupt: [] }>;
  },
): Promise<number> {
  const { config, origins } = explainConfig(flags);
  const { dataDir, tokenFile, runPath } = config;
  const stop = new AbortController();
  interrupts.once('interrupt', () => stop.abort(new Error('interrupted')));
  const scratch = mkdtempSync(join(tmpdir(), 'flashpods-doctor-'));
  const podman = new PodmanProbe({
    socketPath: config.podmanSocket,
    runDir: podmanRunPath(config),
    podmanRoot: config.podmanRoot,
    idBase: config.idBase,
    scratch,
  });
  try {
    const results = examine(
      {
        config,
        isConfigured: (setting) => origins.has(setting),
        client: { ...client, dataDir, tokenFile, runPath },
        connection: { url, token },
        podman,
        auditSums: (redis) => new Semaphore(redis, createKeys()).audit(),
        rsyncPath: rsyncPath(config),
        scratch,
      },
      stop.signal,
    );
    const exitCode = await showFindings(results, out, json);
    return stop.signal.aborted ? ExitCode.cancelled : exitCode;
  } finally {
    await within(
      podman.end().catch(() => undefined),
      END_MS,
      undefined,
    );
    rmSync(scratch, { recursive: true, force: true });
  }
}
