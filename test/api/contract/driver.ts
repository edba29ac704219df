/**
 * Makes requests out of the document, sends them, and holds every answer against the document. What the document says
 * in prose only (which fields go together, where an id comes from) is all that is written down here.
 */
import type { Wire, WireAnswer, WireClient } from './client.ts';
import type { Document, DocumentedOperation, Parameter, Schema } from './document.ts';
import { AWKWARD, Generator } from './generate.ts';
import { CACHES, IMAGES, LIMITED_ADDRESS, type World } from './world.ts';

const KINDS = ['valid', 'query', 'body', 'path', 'auth', 'transport', 'headers', 'method'] as const;
type GeneratedKind = (typeof KINDS)[number];
/** `large` has a body of more than is taken, `noise` is no HTTP: both are sent when asked for. */
export type Kind = GeneratedKind | 'large' | 'noise';
const WEIGHTS: Readonly<Record<GeneratedKind, number>> = {
  valid: 60,
  query: 8,
  body: 10,
  path: 6,
  auth: 8,
  transport: 3,
  headers: 5,
  method: 3,
};
/** The kind of request that such a status is mostly the answer to; for others a valid one. */
const LIKELY: Readonly<Record<string, GeneratedKind>> = {
  '400': 'query',
  '401': 'auth',
  '403': 'auth',
  '404': 'path',
  '415': 'transport',
  '422': 'body',
  '429': 'auth',
};
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'];
const MAX_JSON_BYTES = 1_048_576;
/** An id of everything that was made is kept; of those made by requests, this many. */
const REMEMBERED = 30;

interface Plan {
  readonly operation: DocumentedOperation;
  readonly kind: Kind;
  readonly wire: Wire;
  /** What the answer has to be besides documented. */
  readonly expected: ((status: number) => boolean) | null;
  /** The method is not one of the path's. */
  readonly foreign: boolean;
}

export interface Failure {
  readonly operation: string;
  readonly kind: Kind;
  readonly request: string;
  readonly answer: string;
  readonly problem: string;
}

export class Driver {
  readonly #document: Document;
  readonly #world: World;
  readonly #client: WireClient;
  readonly #generator: Generator;
  readonly #tokenNames: string[] = [];
  readonly #cursors: string[] = [];
  readonly #learnt = { jobs: [] as string[], uploads: [] as string[], eventIds: [] as string[] };

  readonly failures: Failure[] = [];
  /** `operationId status` → how often; `operationId status code` as well for errors. */
  readonly reached = new Map<string, number>();
  sent = 0;
  succeeded = 0;
  /** Statuses of 500 and above that are right at the moment. */
  tolerated: readonly number[] = [];

  constructor(document: Document, world: World, client: WireClient, seed: number) {
    this.#document = document;
    this.#world = world;
    this.#client = client;
    this.#generator = new Generator(seed, (field) => this.#known(field));
  }

  /** Sends `count` requests, `concurrency` at a time. */
  async run(
    count: number,
    concurrency: number,
    operations = this.#document.operations,
    kind = (): Kind => this.#kind(),
  ): Promise<void> {
    let left = count;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        await this.send(this.#generator.random.pick(operations), kind());
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
  }

  /**
   * Sends requests of the operation until one is answered so. What an answer needs may have been used up by requests
   * before, so each round begins with new jobs, uploads and tokens; every other round sends only the kind of request
   * that the status is the answer to.
   */
  async search(operation: DocumentedOperation, status: string): Promise<void> {
    const key = `${operation.operationId} ${status}`;
    const likely = LIKELY[status] ?? 'valid';
    for (let round = 0; round < 60 && !this.reached.has(key); round += 1) {
      for (const maker of this.#document.operations.filter(({ responses }) => responses['201']))
        await this.send(maker, 'valid');
      await this.run(24, 24, [operation], round % 2 === 0 ? () => likely : undefined);
    }
  }

  /** @param body, id, headers instead of generated ones */
  async send(
    operation: DocumentedOperation,
    kind: Kind,
    body?: unknown,
    id?: string,
    headers?: Record<string, string>,
  ): Promise<void> {
    const plan = this.#plan(operation, kind, body, id, headers);
    this.sent += 1;
    let answer: WireAnswer;
    try {
      answer = await this.#client.send(plan.wire);
    } catch (error) {
      this.#fail(plan, null, String(error));
      return;
    }
    if (answer.status >= 200 && answer.status < 300) this.succeeded += 1;
    const problem = this.#problem(plan, answer);
    if (problem !== null) this.#fail(plan, answer, problem);
    if (!plan.foreign) this.#note(operation, answer);
  }

  #problem({ operation, foreign, wire, expected }: Plan, answer: WireAnswer): string | null {
    try {
      if (answer.status >= 500 && !this.tolerated.includes(answer.status) && !isProvoked(wire, answer)) {
        return `nothing provoked ${answer.status}`;
      }
      if (expected?.(answer.status) === false && !this.tolerated.includes(answer.status))
        return `the status is ${answer.status}`;
      if (!foreign) return this.#document.problem(operation, wire, answer);
      if (answer.headers['allow'] === undefined) return 'no header Allow';
      if (wire.method === 'OPTIONS') return answer.body.length === 0 ? null : 'a body';
      return this.#document.problemOfError(answer, ['method_not_allowed']);
    } catch (error) {
      return String(error);
    }
  }

  #note(operation: DocumentedOperation, answer: WireAnswer): void {
    const count = (key: string): void => void this.reached.set(key, (this.reached.get(key) ?? 0) + 1);
    const key = `${operation.operationId} ${answer.status}`;
    count(key);
    const text = answer.body.toString();
    const type = String(answer.headers['content-type'] ?? '');
    if (/^application\/(problem\+)?json\b/.test(type) && text !== '') {
      const body = JSON.parse(text) as Record<string, unknown>;
      if (typeof body['error'] === 'string' && answer.status >= 400) count(`${key} ${body['error']}`);
      if (answer.status === 201) this.#learn(operation, body);
      if (typeof body['next_cursor'] === 'string') remember(this.#cursors, body['next_cursor']);
    } else if (type.startsWith('text/event-stream')) {
      for (const [, id] of text.matchAll(/^id: (\S+)$/gm))
        if (id !== undefined) remember(this.#learnt.eventIds, id);
    }
  }

  #learn({ operationId }: DocumentedOperation, body: Record<string, unknown>): void {
    if (operationId === 'createToken') remember(this.#tokenNames, String(body['name']));
    if (typeof body['job_id'] === 'string') remember(this.#learnt.jobs, body['job_id']);
    if (typeof body['upload_id'] === 'string') remember(this.#learnt.uploads, body['upload_id']);
  }

  #fail({ operation, kind, wire }: Plan, answer: WireAnswer | null, problem: string): void {
    if (this.failures.length >= 100) return;
    const { Authorization: _secret, ...headers } = wire.headers;
    this.failures.push({
      operation: operation.operationId,
      kind,
      request: `${wire.method} ${wire.target.slice(0, 200)} ${JSON.stringify(headers)} ${wire.body?.toString().slice(0, 400) ?? ''}`,
      answer: answer ? `${answer.status} ${answer.body.toString().slice(0, 400)}` : 'none',
      problem,
    });
  }

  #kind(): Kind {
    let at = this.#generator.random.next() * Object.values(WEIGHTS).reduce((sum, weight) => sum + weight, 0);
    return KINDS.find((kind) => (at -= WEIGHTS[kind]) < 0) ?? 'valid';
  }

  #known(field: string): readonly unknown[] {
    const world = this.#world;
    switch (field) {
      case 'files_id':
      case 'base':
        return [...world.uploads, ...this.#learnt.uploads];
      case 'client_job_id':
        return world.clientJobIds;
      case 'image':
        return IMAGES;
      case 'scope':
        return ['default'];
      case 'cache':
        return CACHES;
      case 'caches':
        return [[{ name: 'npm' }], [{ name: 'deps', path: '/opt/deps', mode: 'write' }]];
      case 'token':
        return [world.tokens.admin];
      case 'cursor':
        return this.#cursors;
      case 'last_event_id':
      case 'Last-Event-ID':
        return [...world.eventIds, ...this.#learnt.eventIds.slice(-6)];
      case 'label':
        return ['of:world', 'nobody:has'];
      case 'Range':
        return ['bytes=0-3', 'bytes=2-', 'bytes=-2', 'bytes=99999-', 'bytes=1-2,4-5'];
      case 'If-None-Match':
        return ['*', '"other"', 'W/"x", "y"'];
      case 'If-Range':
        return ['"other"'];
      default:
        return [];
    }
  }

  #plan(
    operation: DocumentedOperation,
    kind: Kind,
    given?: unknown,
    id?: string,
    fixed?: Record<string, string>,
  ): Plan {
    const { random } = this.#generator;
    const { tokens } = this.#world;
    const headers: Record<string, string> = { ...fixed };
    let token: string | null = operation.scope === null ? null : tokens.admin;
    let from = '127.0.0.1';
    let method = operation.method === 'GET' && random.chance(0.04) ? 'HEAD' : operation.method;
    let expected: Plan['expected'] = null;
    let foreign = false;
    const refused = (status: number): boolean => status >= 400 && status < 500;

    for (const parameter of fixed ? [] : parametersIn(operation, 'header')) {
      if (random.chance(0.3))
        headers[parameter.name] = String(this.#generator.valid(parameter.schema, parameter.name)).replaceAll(
          /[^\x20-\x7e]/g,
          '',
        );
    }
    let target =
      id === undefined ? this.#path(operation, kind === 'path') : operation.path.replace('{id}', id);
    if (kind === 'noise') headers['Content-Length'] = 'many';
    const query = this.#query(operation, kind === 'query');
    if (query !== '') target += `?${query}`;
    if (kind === 'query' && query.includes('unknown=')) expected = refused;

    let body: Buffer | null = null;
    const content = operation.requestBody?.content ?? {};
    const json = content['application/json']?.schema;
    if (
      json &&
      (operation.requestBody?.required === true ||
        kind === 'large' ||
        given !== undefined ||
        kind === 'body' ||
        random.chance(0.7))
    ) {
      let value = given ?? this.#sensible(operation, this.#generator.valid(json));
      if (kind === 'body') value = this.#generator.broken(json, value);
      if (!this.#document.takes(operation, value)) expected = refused;
      body = Buffer.from(JSON.stringify(value));
      headers['Content-Type'] = random.pick(['application/json', 'application/json; charset=utf-8']);
    } else if (content['application/x-tar']) {
      body = random.pick(random.chance(0.6) ? this.#world.tars.slice(0, 2) : this.#world.tars);
      headers['Content-Type'] = 'application/x-tar';
      if (kind === 'body') body = Buffer.concat([body.subarray(0, 700), Buffer.from(random.pick(AWKWARD))]);
    }

    if (kind === 'large') body = Buffer.alloc(MAX_JSON_BYTES + 1, ' ');
    if (kind === 'transport' && body) {
      const spoilt = random.int(0, json ? 4 : 1);
      if (spoilt === 0)
        headers['Content-Type'] = random.pick([
          'text/plain',
          '',
          'application/json; charset=latin1',
          'multipart/form-data',
        ]);
      if (spoilt === 1) headers['Content-Encoding'] = random.pick(['gzip', 'br', 'zstd', 'nonsense']);
      if (spoilt === 2) body = body.subarray(0, -1);
      if (spoilt === 3) body = Buffer.from([0x22, 0xff, 0xfe, 0x22]);
      if (spoilt === 4) body = Buffer.alloc(0);
      if (spoilt === 0 || (json && spoilt !== 4)) expected = refused;
    }
    if (kind === 'headers') {
      const name = random.pick([
        'Origin',
        'Cookie',
        'Accept',
        'X-Request-Id',
        'Sec-Fetch-Site',
        'Expect-Nothing',
      ]);
      headers[name] =
        {
          Origin: 'http://elsewhere.example',
          Cookie: 'flashpods_session=guess',
          Accept: 'application/problem+json',
          'X-Request-Id': random.pick(['ok-1', 'x'.repeat(300), '{"a":1}']),
          'Sec-Fetch-Site': 'cross-site',
          'Expect-Nothing': 'x'.repeat(2_000),
        }[name] ?? '';
    }
    if (kind === 'method') {
      const own = this.#document.operations
        .filter(({ path }) => path === operation.path)
        .map((each) => each.method);
      method = random.pick(METHODS.filter((each) => !own.includes(each)));
      foreign = true;
      token = tokens.admin;
      expected = (status) => (method === 'OPTIONS' ? status < 300 : status === 405);
    }
    let authorization = token === null ? null : `Bearer ${token}`;
    if (kind === 'auth') {
      const way = random.int(0, 4);
      if (operation.scope === null || way === 0) {
        if (operation.scope === null) from = LIMITED_ADDRESS;
        else authorization = `Bearer ${tokens.limited}`;
      } else if (way === 1) {
        authorization = `Bearer ${operation.scope === 'jobs:read' ? tokens.uploader : tokens.reader}`;
        expected = (status) => status === 403;
      } else {
        authorization =
          way === 2
            ? null
            : random.pick(
                way === 3
                  ? ['Basic x', 'Bearer', 'Bearer a b', '\u00ff']
                  : ['Bearer x', `Bearer ${'y'.repeat(999)}`, `bearer ${tokens.admin}0`],
              );
        expected = (status) => status === 401;
      }
    }
    if (authorization !== null) headers['Authorization'] = authorization;
    return { operation, kind, foreign, expected, wire: { method, target, headers, body, from } };
  }

  #path(operation: DocumentedOperation, wrong: boolean): string {
    const { random } = this.#generator;
    const { jobs, uploads, artifactNames } = this.#world;
    return operation.path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) => {
      if (wrong && random.chance(0.8)) {
        const text = random.pick([
          ...AWKWARD,
          'job_aaaaaaaaaaaa',
          'upload_aaaaaaaaaaaa',
          'x'.repeat(300),
          'a/b',
        ]);
        return random.chance(0.2)
          ? random.pick(['%', '%E0%A4%A', '%00', '%2e%2e%2f', '%ff', '.', '..'])
          : encodeURIComponent(text.toWellFormed());
      }
      const known =
        operation.path.startsWith('/jobs/') && name === 'id'
          ? [jobs, this.#learnt.jobs]
          : operation.path.startsWith('/uploads/')
            ? [uploads, this.#learnt.uploads]
            : operation.path.startsWith('/tokens/')
              ? [[], this.#tokenNames]
              : operation.path.startsWith('/hosts/')
                ? [this.#world.hostNames]
                : [artifactNames];
      const [made = [], learnt = []] = known;
      const pool = learnt.length > 0 && (made.length === 0 || random.chance(0.4)) ? learnt : made;
      return encodeURIComponent(pool.length > 0 ? random.pick(pool) : 'none');
    });
  }

  #query(operation: DocumentedOperation, wrong: boolean): string {
    const { random } = this.#generator;
    const parameters = parametersIn(operation, 'query');
    const query = new URLSearchParams();
    for (const { name, schema, required } of parameters) {
      // A longer wait than this finds out nothing more.
      if (required || random.chance(0.35))
        query.append(name, name === 'wait' ? '1' : String(this.#generator.valid(schema, name)));
    }
    // These two exclude each other.
    if (query.has('tail') && random.chance(0.8)) query.delete('offset');
    if (!wrong) return query.toString();
    const victim = parameters.length > 0 ? random.pick(parameters) : null;
    const way = random.int(0, 2);
    if (way === 0 || !victim) query.append('unknown', '1');
    else if (way === 1) query.append(victim.name, 'twice');
    else query.set(victim.name, wrongText(this.#generator, victim.schema));
    return query.toString();
  }

  /** Mostly one of the combinations of fields that the document describes in words. */
  #sensible({ operationId }: DocumentedOperation, value: unknown): unknown {
    const { random } = this.#generator;
    if (operationId !== 'createJob' || random.chance(0.2)) return value;
    const { command, task, context, git_branch, git_url, files_id, ...shared } = value as Record<
      string,
      unknown
    >;
    const files = files_id !== undefined && random.chance(0.5) ? { files_id } : {};
    const small = random.chance(0.8) ? { cpus: random.int(1, 4), memory_gb: random.int(1, 8) } : {};
    return shared['type'] === 'worker'
      ? { ...shared, ...small, ...files, command: command ?? 'true' }
      : {
          ...shared,
          ...small,
          ...files,
          task: task ?? 'do it',
          git_branch: git_branch ?? 'main',
          ...(context ? { context } : {}),
          ...(git_url ? { git_url } : {}),
        };
  }
}

const parametersIn = (operation: DocumentedOperation, place: Parameter['in']): readonly Parameter[] =>
  (operation.parameters ?? []).filter((parameter) => parameter.in === place);

const wrongText = ({ random }: Generator, { minimum, maximum }: Schema): string =>
  random.pick([
    ...AWKWARD.map((text) => text.toWellFormed()),
    '',
    String((minimum ?? 0) - 1),
    String((maximum ?? 0) + 1),
    '1.5',
    '0x1',
    '٣',
  ]);

/** The two that say what the state of a job or the size of an upload is, not that something is broken. */
const isProvoked = ({ method }: Wire, { status, body }: WireAnswer): boolean =>
  status === 507 || (status === 503 && (method === 'HEAD' || body.includes('copy_in_progress')));

function remember(pool: string[], value: string): void {
  pool.push(value);
  if (pool.length > REMEMBERED) pool.shift();
}
