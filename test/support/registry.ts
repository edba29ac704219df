/**
 * An image registry of a test's own on loopback: the part of the OCI distribution API that a pull needs, over plain
 * HTTP (https://github.com/opencontainers/distribution-spec, "Pull"). Its images hold this machine's shell and nothing
 * else.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { type Entry, tarOf } from '../api/tar.ts';

interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
  readonly mediaType: string;
}

export interface Registry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** The registries.conf that lets Podman use it, for CONTAINERS_REGISTRIES_CONF of the service. */
  readonly configFile: string;
  /** Makes an image that no other test has. @returns its name, for a job */
  publish(name: string): string;
  /** The image's last blob is not sent before {@link release}. */
  hold(name: string): void;
  release(name: string): void;
  /** How often its manifest was fetched. */
  pulls(name: string): number;
  close(): Promise<void>;
}

interface Published {
  readonly manifest: Blob;
  readonly config: Blob;
  held: PromiseWithResolvers<void> | null;
  pulls: number;
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** @param directory gets the configuration file */
export async function startRegistry(directory: string): Promise<Registry> {
  const layer = await layerWithShell();
  const images = new Map<string, Published>();
  const server = createServer((message, response) => {
    answer(message, response, layer, images).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const configFile = join(directory, 'registries.conf');
  await writeFile(configFile, `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
  const of = (name: string): Published => {
    const image = images.get(name);
    if (!image) throw new Error(`${name} was not published`);
    return image;
  };
  return {
    host,
    configFile,
    publish(name) {
      const config = json('application/vnd.oci.image.config.v1+json', {
        architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
        os: 'linux',
        // Makes it an image of its own though all have the same layer.
        config: { Env: ['PATH=/bin'], Labels: { name, host } },
        rootfs: { type: 'layers', diff_ids: [layer.diffId] },
      });
      const manifest = json(MANIFEST, {
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: descriptor(config),
        layers: [descriptor(layer.blob)],
      });
      images.set(name, { manifest, config, held: null, pulls: 0 });
      return `${host}/${name}:1`;
    },
    hold: (name) => void (of(name).held = Promise.withResolvers()),
    release(name) {
      of(name).held?.resolve();
      of(name).held = null;
    },
    pulls: (name) => of(name).pulls,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

async function answer(
  { method, url = '' }: IncomingMessage,
  response: ServerResponse,
  layer: { readonly blob: Blob },
  images: ReadonlyMap<string, Published>,
): Promise<void> {
  if (url === '/v2/') return void response.end('{}');
  const [, name = '', kind, reference] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url) ?? [];
  const image = images.get(name);
  const blobs = image ? [image.manifest, image.config, layer.blob] : [];
  const blob =
    blobs.find(({ digest }) => digest === reference) ?? (kind === 'manifests' ? image?.manifest : undefined);
  if (!image || !blob) {
    response.statusCode = 404;
    const code = kind === 'manifests' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN';
    return void response.end(JSON.stringify({ errors: [{ code, message: 'it was never pushed here' }] }));
  }
  if (blob === image.manifest && method === 'GET') image.pulls += 1;
  if (blob === image.config) await image.held?.promise;
  response.setHeader('Content-Type', blob.mediaType);
  response.setHeader('Content-Length', blob.bytes.length);
  response.setHeader('Docker-Content-Digest', blob.digest);
  response.end(method === 'HEAD' ? undefined : blob.bytes);
}

async function layerWithShell(): Promise<{ readonly blob: Blob; readonly diffId: string }> {
  const shell = realpathSync('/bin/sh');
  const libraries = [...execFileSync('ldd', [shell], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)];
  const files: Entry[] = libraries.map(([, path = '']) => ({
    name: path.slice(1),
    mode: 0o755,
    content: readFileSync(path),
  }));
  const tar = await tarOf({ name: 'bin/sh', mode: 0o755, content: readFileSync(shell) }, ...files);
  const diffId = digestOf(tar);
  const bytes = gzipSync(tar, { level: 1 });
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  return { blob: { digest: digestOf(bytes), bytes, mediaType }, diffId };
}

function json(mediaType: string, value: unknown): Blob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { digest: digestOf(bytes), bytes, mediaType };
}

const descriptor = ({ mediaType, digest, bytes }: Blob): object => ({
  mediaType,
  digest,
  size: bytes.length,
});
const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Takes a pulled image out of Podman's storage, which outlives the test's service. */
export function removeImage(socketPath: string, image: string): Promise<void> {
  const path = `/v4.0.0/libpod/images/${image.split('/').map(encodeURIComponent).join('/')}?force=true`;
  return new Promise((resolve, reject) => {
    request({ socketPath, path, method: 'DELETE' }, (response) => {
      response.resume();
      response.once('end', () => resolve());
    })
      .once('error', reject)
      .end();
  });
}
