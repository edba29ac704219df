import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { before, describe, it } from 'mocha';
import { CertificateError, doubtsOf, readCertificates, subjectOf } from '../../src/mirrors/certificates.ts';
import { MirrorSource } from '../../src/mirrors/mirrors.ts';
import { makeCa } from '../support/mirror/mirror.ts';
import { scratch } from '../support/scratch.ts';

describe('a file of CA certificates', () => {
  const directory = scratch();
  let one: string;
  let other: string;
  let key: string;
  before(async () => {
    await directory.make();
    one = readFileSync(await makeCa(directory.path('a'), 'One'), 'utf8');
    other = readFileSync(await makeCa(directory.path('b'), 'Other'), 'utf8');
    key = readFileSync(directory.path('a', 'ca.key'), 'utf8');
  });
  const given = (content: string | Buffer): string => {
    writeFileSync(directory.path('given.pem'), content);
    return directory.path('given.pem');
  };

  it('gives each certificate once, with anything between them', () => {
    const found = readCertificates(given(`\uFEFFOne:\r\n${one.replaceAll('\n', '\r\n')}${other}text${one}`));
    assert.deepEqual(found.map(subjectOf), ['One', 'Other']);
    assert.deepEqual(doubtsOf(found), []);
    assert.match(doubtsOf(found, Date.now() + 9 * 86_400_000)[0] ?? '', /^“One” ended at /);
  });

  it('is refused with what to do, and without a word of its content', () => {
    const der = Buffer.from(one.replaceAll(/-----.*-----|\s/g, ''), 'base64');
    const damaged = one.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA');
    for (const [content, message] of [
      ['', /is not PEM/],
      ['hello', /is not PEM: it has to hold lines/],
      [der, /looks like DER: `openssl x509 -inform der/],
      [one + key, /holds a private key/],
      [key.slice(0, 60), /holds a private key/],
      [one.replaceAll('CERTIFICATE', 'X509 CRL'), /holds no certificate \(CERTIFICATE\), only: X509 CRL/],
      [other + damaged, /certificate 2 of it is damaged/],
      [Buffer.alloc(2 ** 20 + 1), /at most 1048576 are taken/],
    ] as const)
      assert.throws(
        () => readCertificates(given(content)),
        (error: Error) => {
          assert.ok(error instanceof CertificateError);
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /hello|MI[A-Z]/);
          return true;
        },
      );
    assert.throws(() => readCertificates(directory.path('a')), /is a directory/);
    assert.throws(() => readCertificates(directory.path('none')), /is not there/);
    assert.throws(() => readCertificates('/dev/null'), /is no regular file/);
  });

  it('is read again when it has changed, and what it held holds while it is broken or gone', () => {
    const caFile = given(one);
    const warnings: unknown[] = [];
    const source = new MirrorSource({ caFile }, {
      warn: (facts: unknown) => void warnings.push(facts),
    } as never);
    const now = (): string[] => (source.current()?.certificates ?? []).map(subjectOf);
    assert.deepEqual(now(), ['One']);
    given(one + other);
    assert.deepEqual(now(), ['One', 'Other']);
    given('half');
    assert.deepEqual([now(), now(), warnings.length], [['One', 'Other'], ['One', 'Other'], 1]);
    rmSync(caFile);
    assert.deepEqual([now(), warnings.length], [['One', 'Other'], 2]);
    given(other);
    assert.deepEqual(now(), ['Other']);
    assert.equal(new MirrorSource({}, { warn: () => undefined }).current(), null);
  });
});
