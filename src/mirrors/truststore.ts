/**
 * Java's truststores (`cacerts`). Java reads no PEM, and its options (JAVA_TOOL_OPTIONS) make every program print a line,
 * so a job gets the image's own store with our certificates in it, as JKS: every Java reads that.
 * Formats: https://docs.oracle.com/javase/8/docs/technotes/guides/security/crypto/CryptoSpec.html (keystore "jks" of
 * the SUN provider), RFC 7292 (PKCS #12).
 */
import { createHash, X509Certificate } from 'node:crypto';

const MAGIC = 0xfeedfeed;
const DIGEST_BYTES = 20;
/** Of the stores that come with Java, the world over. */
const PASSWORD = 'changeit';
const SALT = 'Mighty Aphrodite';
const CERTIFICATE_ENTRY = 2;
const VERSION = 2;

/**
 * A store with the certificates of another one and these.
 * @returns null where the other one can't be read: encrypted, or with a password of its own
 */
export function addToTruststore(store: Buffer, certificates: readonly X509Certificate[]): Buffer | null {
  if (store.length >= 12 && store.readUInt32BE(0) === MAGIC) return addToJks(store, certificates);
  const own = certificatesOfPkcs12(store);
  return own.length === 0 ? null : makeTruststore([...own, ...certificates]);
}

export function makeTruststore(certificates: readonly X509Certificate[]): Buffer {
  const entries = [...new Map(certificates.map((each) => [each.fingerprint256, each])).values()].map(entryOf);
  return signed(Buffer.concat([header(VERSION, entries.length), ...entries]));
}

function addToJks(store: Buffer, certificates: readonly X509Certificate[]): Buffer | null {
  const body = store.subarray(0, -DIGEST_BYTES);
  if (!signed(body).equals(store)) return null;
  const version = body.readUInt32BE(4);
  if (version !== VERSION) return null;
  const added = certificates.filter(({ raw }) => !body.includes(raw)).map(entryOf);
  return signed(
    Buffer.concat([header(version, body.readUInt32BE(8) + added.length), body.subarray(12), ...added]),
  );
}

function header(version: number, count: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(version, 4);
  bytes.writeUInt32BE(count, 8);
  return bytes;
}

function entryOf({ raw, fingerprint256, validFromDate }: X509Certificate): Buffer {
  const numbers = Buffer.alloc(4);
  numbers.writeUInt32BE(CERTIFICATE_ENTRY);
  const date = Buffer.alloc(8);
  date.writeBigInt64BE(BigInt(validFromDate.getTime()));
  const size = Buffer.alloc(4);
  size.writeUInt32BE(raw.length);
  const alias = `flashpods-${fingerprint256.replaceAll(':', '').toLowerCase()}`;
  return Buffer.concat([numbers, utf(alias), date, utf('X.509'), size, raw]);
}

function utf(text: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return Buffer.concat([length, Buffer.from(text, 'ascii')]);
}

function signed(body: Buffer): Buffer {
  const password = Buffer.from(PASSWORD, 'utf16le').swap16();
  const digest = createHash('sha1').update(password).update(SALT, 'ascii').update(body).digest();
  return Buffer.concat([body, digest]);
}

/** What stands before a certificate that is not encrypted, as Java 18 and later write their own store. */
const X509_BAG = Buffer.from('060a2a864886f70d01091601', 'hex');

function certificatesOfPkcs12(store: Buffer): X509Certificate[] {
  const found: X509Certificate[] = [];
  for (let at = store.indexOf(X509_BAG); at !== -1; at = store.indexOf(X509_BAG, at + 1)) {
    const outer = derAt(store, at + X509_BAG.length, 0xa0);
    const octets = outer && derAt(outer, 0, 0x04);
    if (!octets) continue;
    try {
      found.push(new X509Certificate(octets));
    } catch {
      return []; // half of a store would be worse than none
    }
  }
  return found;
}

/** The content of the DER value with this tag. */
function derAt(bytes: Buffer, at: number, tag: number): Buffer | null {
  if (bytes[at] !== tag) return null;
  const first = bytes[at + 1] ?? 0;
  const more = first < 0x80 ? 0 : first & 0x7f;
  if (more > 4 || at + 2 + more > bytes.length) return null;
  const length = more === 0 ? first : bytes.readUIntBE(at + 2, more);
  const start = at + 2 + more;
  return start + length > bytes.length ? null : bytes.subarray(start, start + length);
}
