/** The file of CA certificates that jobs are to trust beside those of their image. */
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { systemCode } from '../errors.ts';

/** All the CAs of the web are a fifth of it. */
const MAX_BYTES = 2 ** 20;
const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----/g;
const FIRST_DER_BYTE = 0x30;

/** A CA file that can't be used. Its message says what to do; nothing of the file's content is in it. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
}

/** @returns each certificate once, in the file's order @throws CertificateError */
export function readCertificates(path: string): X509Certificate[] {
  const bytes = read(path);
  const text = bytes.toString('latin1');
  const blocks = [...text.matchAll(BLOCK)].map(([pem, label = '']) => ({ pem, label }));
  // All that runs in a job can read the file.
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(text))
    throw new CertificateError(
      `${path} holds a private key, which every job could read: give a file with the certificates alone`,
    );
  if (blocks.length === 0) {
    const advice =
      bytes[0] === FIRST_DER_BYTE
        ? `it looks like DER: \`openssl x509 -inform der -in ${path} -out ca.pem\` makes PEM of it`
        : 'it has to hold lines from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`';
    throw new CertificateError(`${path} is not PEM: ${advice}`);
  }
  const certificates = blocks.filter(({ label }) => label === 'CERTIFICATE');
  if (certificates.length === 0) {
    const labels = [...new Set(blocks.map(({ label }) => label))].join(', ');
    throw new CertificateError(
      `${path} holds no certificate (CERTIFICATE), only: ${labels}. Give the certificate of the CA`,
    );
  }
  const byFingerprint = new Map(
    certificates.map(({ pem }, at) => {
      const certificate = parse(path, pem, at + 1);
      return [certificate.fingerprint256, certificate] as const;
    }),
  );
  return [...byFingerprint.values()];
}

/** What can't be right of certificates that can be read, in words. */
export function doubtsOf(certificates: readonly X509Certificate[], now = Date.now()): string[] {
  return certificates.flatMap((certificate) => {
    const name = subjectOf(certificate);
    if (certificate.validToDate.getTime() < now) return [`“${name}” ended at ${certificate.validTo}`];
    if (certificate.validFromDate.getTime() > now) return [`“${name}” begins at ${certificate.validFrom}`];
    const isOwnIssuer = certificate.checkIssued(certificate);
    return certificate.ca || isOwnIssuer ? [] : [`“${name}” is no CA’s: it can vouch for no other one`];
  });
}

export const subjectOf = ({ subject }: X509Certificate): string =>
  /^CN=(.*)$/m.exec(subject)?.[1] ?? subject.replaceAll('\n', ', ');

function read(path: string): Buffer {
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) throw new CertificateError(`${path} is a directory: give one file`);
    if (!stat.isFile()) throw new CertificateError(`${path} is no regular file`);
    if (stat.size > MAX_BYTES)
      throw new CertificateError(`${path} has ${stat.size} bytes; at most ${MAX_BYTES} are taken`);
    return readFileSync(path);
  } catch (error) {
    const code = systemCode(error);
    if (error instanceof CertificateError || code === undefined) throw error;
    const why = code === 'ENOENT' ? 'is not there' : `can't be read (${code})`;
    throw new CertificateError(`${path} ${why}`, { cause: error });
  }
}

function parse(path: string, pem: string, at: number): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new CertificateError(`${path}: certificate ${at} of it is damaged`, { cause });
  }
}
