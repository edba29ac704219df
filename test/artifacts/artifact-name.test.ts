import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { artifactNameProblem, parseArtifactName } from '../../src/artifacts/artifact-name.ts';

describe('artifact names', () => {
  it('takes nested, hidden, spaced and foreign names', () => {
    const long = 'é'.repeat(127);
    for (const name of [
      'a',
      'a/b/c.txt',
      '.hidden',
      '..a',
      '...',
      'a b',
      'a\nb',
      '日本語/ü',
      `${long}x/${long}`,
    ]) {
      assert.equal(parseArtifactName(name), name);
    }
  });

  it('refuses what could leave, end or disguise a path', () => {
    const long = 'é'.repeat(128);
    const names = [
      '',
      '/',
      '/a',
      'a/',
      'a//b',
      '.',
      '..',
      'a/../b',
      './a',
      'a\\b',
      'a\0',
      ' a',
      'a ',
      'a/b\n',
      '\u00a0a',
    ];
    for (const name of [...names, '\ufeffa', '\ud800', long, `a/${long}`]) {
      assert.notEqual(artifactNameProblem(name), null, JSON.stringify(name));
      assert.throws(() => parseArtifactName(name), { code: 'invalid_artifact_name' });
    }
  });

  it('takes exactly the names whose every segment is sound', () => {
    const segment = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 6 }),
      fc.constantFrom('.', '..', '', ' ', 'x\\', '\0', 'é'.repeat(127), 'é'.repeat(128), 'a b', '\t'),
      fc.string({ unit: 'binary', maxLength: 6 }),
    );
    const isSound = (one: string): boolean =>
      one !== '' &&
      one !== '.' &&
      one !== '..' &&
      !/[\\/\0]/.test(one) &&
      !/^\s|\s$/.test(one) &&
      Buffer.from(one).length <= 255;
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
        const name = segments.join('/');
        assert.equal(
          artifactNameProblem(name) === null,
          name.isWellFormed() && name.split('/').every(isSound),
          name,
        );
      }),
      { numRuns: 2000 },
    );
  });
});
