/** An OpenAPI document as a program that has nothing else reads it: operations, and what their answers must be. */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { Wire, WireAnswer } from './client.ts';

export interface Schema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly propertyNames?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: Schema;
}

interface ResponseObject {
  readonly headers?: Readonly<Record<string, { readonly required?: boolean }>>;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

export interface OperationObject {
  readonly operationId: string;
  readonly description?: string;
  readonly security: readonly Readonly<Record<string, unknown>>[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: {
    readonly required?: boolean;
    readonly content: Readonly<Record<string, { readonly schema: Schema }>>;
  };
  readonly responses: Readonly<Record<string, ResponseObject>>;
}

interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>;
  readonly components: unknown;
}

export interface DocumentedOperation extends OperationObject {
  readonly method: string;
  readonly path: string;
  /** Named in the description; null for one that needs no token. */
  readonly scope: string | null;
}

export class Document {
  readonly operations: readonly DocumentedOperation[];
  readonly #ajv: Ajv2020;

  constructor(text: string) {
    const document = JSON.parse(text) as OpenApi;
    // `strict` would refuse the keywords of OpenAPI around the schemas; a pattern or format that is wrong still throws.
    this.#ajv = new Ajv2020({ strict: false, allErrors: false });
    addFormats.default(this.#ajv);
    this.#ajv.addSchema(document, 'document');
    this.operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        ...operation,
        method: method.toUpperCase(),
        path,
        scope: /Scope: `([a-z:]+)`/.exec(operation.description ?? '')?.[1] ?? null,
      })),
    );
  }

  /** Whether the schema of the operation's JSON body takes this value. */
  takes(operation: DocumentedOperation, body: unknown): boolean {
    return this.#at(operation, ['requestBody', 'content', 'application/json', 'schema'])(body) === true;
  }

  /** What is wrong with an answer of this operation, or null. */
  problem(operation: DocumentedOperation, wire: Wire, answer: WireAnswer): string | null {
    const status = String(answer.status);
    const response = operation.responses[status];
    if (!response) return `status ${status} is not documented`;
    for (const [name, header] of Object.entries(response.headers ?? {})) {
      if (header.required && answer.headers[name.toLowerCase()] === undefined) return `no header ${name}`;
    }
    if (wire.method === 'HEAD' || !response.content) {
      return answer.body.length === 0 ? null : `a body that is not documented for ${status}`;
    }
    const type = String(answer.headers['content-type'] ?? '').split(';')[0] ?? '';
    // The type of a file is its own.
    const documented = response.content[type] ? type : 'application/octet-stream';
    if (!response.content[documented]) return `media type ${type} is not documented for ${status}`;
    if (type === 'text/event-stream') {
      return /^(:|id:|retry:|event:|data:)/.test(answer.body.toString()) ? null : 'no stream of events';
    }
    if (type === 'application/x-ndjson') {
      for (const line of answer.body.toString().split('\n').slice(0, -1)) JSON.parse(line);
    }
    if (!/^application\/(problem\+)?json$/.test(type) || documented !== type) return null;
    const validate = this.#at(operation, ['responses', status, 'content', type, 'schema']);
    if (validate(JSON.parse(answer.body.toString()))) return null;
    return `the body is not as documented: ${this.#ajv.errorsText(validate.errors)}`;
  }

  /** Of answers that belong to no operation. */
  problemOfError(answer: WireAnswer, codes: readonly string[]): string | null {
    const validate = this.#ajv.getSchema('document#/components/schemas/Error') as ValidateFunction;
    const body = JSON.parse(answer.body.toString()) as { error?: string };
    if (!validate(body)) return `the body is not as documented: ${this.#ajv.errorsText(validate.errors)}`;
    return codes.includes(body.error ?? '') ? null : `the code is ${body.error}`;
  }

  #at({ path, method }: DocumentedOperation, steps: readonly string[]): ValidateFunction {
    const pointer = ['paths', path, method.toLowerCase(), ...steps]
      .map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/');
    const validate = this.#ajv.getSchema(`document#/${pointer}`);
    if (!validate) throw new Error(`the document has nothing at ${pointer}`);
    return validate as ValidateFunction;
  }
}
