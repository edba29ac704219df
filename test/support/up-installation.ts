/** One data directory and its real `flashpods up`. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fromRecord, type ProcessIdentity } from '../../src/lifecycle/process-identity.ts';
import { eventually } from './eventually.ts';
import { Caller } from './http.ts';
import { type RoleProcess, startRole } from './processes.ts';

export class UpInstallation {
  readonly data: string;
  readonly log: string;
  readonly #settings: Readonly<Record<string, string>>;
  up: RoleProcess | null = null;

  /** @param directory where its data directory is, and its log unless said */
  constructor(
    directory: string,
    name: string,
    settings: Readonly<Record<string, string>> = {},
    log = join(directory, `${name}.log`),
  ) {
    this.data = join(directory, name);
    this.log = log;
    this.#settings = settings;
  }

  launch(settings: Readonly<Record<string, string>> = {}): RoleProcess {
    this.up = startRole(
      'up',
      {
        FLASHPODS_DATA_DIR: this.data,
        FLASHPODS_LISTEN_ADDR: '127.0.0.1:0',
        FLASHPODS_RSYNC_ADDR: '127.0.0.1:0',
        FLASHPODS_HOST_NAME: 'up-test',
        FLASHPODS_CPUS: '2',
        FLASHPODS_MEMORY_GB: '2',
        ...this.#settings,
        ...settings,
      },
      this.log,
    );
    return this.up;
  }

  async start(): Promise<void> {
    const said = (): Promise<string> => readFile(this.log, 'utf8').catch(() => '');
    const before = (await said()).length;
    const failed = this.launch().exited.then(async () => {
      throw new Error(`up has ended: ${await said()}`);
    });
    const isUp = eventually(
      'it is up, with its host',
      async () => (await said()).slice(before).includes(' is up.') && (await this.#hostState()) === 'up',
      { timeoutMs: 90_000 },
    );
    await Promise.race([isUp, failed]);
  }

  async #hostState(): Promise<string | undefined> {
    const { body } = await this.caller.json<{ hosts: { state: string }[] }>('GET', '/capacity');
    return body.hosts[0]?.state;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.up?.end(signal);
    this.up = null;
  }

  get caller(): Caller {
    const { url } = JSON.parse(readFileSync(join(this.data, 'run', 'server.json'), 'utf8')) as {
      url: string;
    };
    return new Caller(url, readFileSync(join(this.data, 'token'), 'utf8').trim());
  }

  /** The process that a record names. */
  recorded(file: string, name?: string): ProcessIdentity {
    const path = join(this.data, file);
    const record: unknown = JSON.parse(readFileSync(path, 'utf8'));
    const one = name === undefined ? record : (record as Record<string, unknown>)[name];
    const found = fromRecord(one, dirname(path));
    if (found === null) throw new Error(`${file} names no process`);
    return found;
  }

  /** The processes that it has beside `up` itself. */
  get parts(): ProcessIdentity[] {
    const { daemon } = JSON.parse(readFileSync(join(this.data, 'run/rsync/daemon.json'), 'utf8')) as {
      daemon: ProcessIdentity;
    };
    return [
      this.recorded('run/children.json', 'api'),
      this.recorded('run/children.json', 'worker'),
      this.recorded('redis/redis.pid'),
      this.recorded('run/podman/podman-service.json'),
      daemon,
    ];
  }
}
