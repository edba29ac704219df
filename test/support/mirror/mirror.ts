/** The outermost edge of a test: a TLS server with a private CA that has one small package in the form of each registry. */
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Content, mirrorContent } from './content.ts';

export interface Mirror {
  /** `https://ADDRESS:PORT` */
  readonly url: string;
  readonly caFile: string;
  /** Paths that were asked for, oldest first. */
  readonly asked: string[];
  close(): Promise<void>;
}

/** What `/private/…` asks for; it has the same as `/…`. */
export const ACCOUNT = { name: 'robot', password: 's3cr3t%40' };

/** A CA certificate in `directory`. @returns its path */
export async function makeCa(directory: string, name = 'Test CA'): Promise<string> {
  await mkdir(directory, { recursive: true });
  await execa(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${name}`, '-keyout', 'ca.key', '-out', 'ca.pem'],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ],
    { cwd: directory },
  );
  return join(directory, 'ca.pem');
}

/** @param address of this machine @param directory an empty one */
export async function startMirror(address: string, directory: string): Promise<Mirror> {
  const caFile = await makeCa(directory);
  const cwd = directory;
  await execa(
    'openssl',
    [
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=mirror'],
      ...['-keyout', 'key.pem', '-out', 'request.pem', '-addext', `subjectAltName=IP:${address}`],
    ],
    { cwd },
  );
  await execa(
    'openssl',
    [
      ...['x509', '-req', '-in', 'request.pem', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-days', '2'],
      ...['-copy_extensions', 'copy', '-out', 'cert.pem'],
    ],
    { cwd },
  );
  const [key, cert] = await Promise.all(
    ['key.pem', 'cert.pem'].map((name) => readFile(join(directory, name))),
  );
  let content: Content = new Map();
  const asked: string[] = [];
  const credentials = Buffer.from(`${ACCOUNT.name}:${decodeURIComponent(ACCOUNT.password)}`).toString(
    'base64',
  );
  const server = createServer({ key, cert }, (request, response) => {
    const path = decodeURIComponent((request.url ?? '').replace(/\?.*/, ''));
    asked.push(path);
    const isPrivate = path.startsWith('/private/');
    if (isPrivate && request.headers.authorization !== `Basic ${credentials}`)
      return response.writeHead(401, { 'www-authenticate': 'Basic realm="mirror"' }).end();
    const found = content.get(isPrivate ? path.slice('/private'.length) : path);
    if (found === undefined) return response.writeHead(404).end('not here\n');
    const type = path.includes('/pypi/simple/') ? 'text/html' : 'application/octet-stream';
    return response.writeHead(200, { 'content-type': type }).end(found);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, address, resolve));
  const url = `https://${address}:${(server.address() as AddressInfo).port}`;
  content = await mirrorContent(url, join(directory, 'content'));
  return {
    url,
    caFile,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The settings by which jobs fetch all from it. */
export const mirrorSettings = (url: string) => ({
  npmRegistry: `${url}/npm`,
  pipIndexUrl: `${url}/pypi/simple`,
  cargoRegistry: `${url}/cargo`,
  goproxy: `${url}/go`,
  gosumdb: 'off',
  mavenMirror: `${url}/maven`,
  aptMirror: `${url}/debian`,
});
