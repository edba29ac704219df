import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { ImagePulls } from '../../processors/image-pulls.ts';
import type { ImageBoard } from '../../queues/images/image-board.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';

describe('pulls of a host', () => {
  it('leave places to other owners when the registries of one never answer', async () => {
    const wishes = new Map<string, string>();
    const owners = new Map<string, string>();
    for (let n = 0; n < 20; n += 1) {
      wishes.set(`tarpit/${n}`, '1');
      owners.set(`tarpit/${n}`, 'slow');
    }
    const said: string[] = [];
    const board = {
      wishes: async () => new Map(wishes),
      wishedBy: async (_host: string, images: readonly string[]) =>
        images.map((image) => owners.get(image) ?? ''),
      forgetWish: async (_host: string, image: string) => void wishes.delete(image),
      say: async (_host: string, image: string, { state }: { state: string }) =>
        void said.push(`${image} ${state}`),
      unsay: async () => undefined,
    } as unknown as ImageBoard;
    const pulling = new Set<string>();
    const pulls = new ImagePulls({
      runtime: {
        async ensureImage(image, _tell, signal) {
          pulling.add(image);
          if (image.startsWith('tarpit/'))
            await new Promise((_, reject) =>
              signal.addEventListener('abort', () => reject(new Error('gone'))),
            );
          return 'sha256:0';
        },
      },
      board,
      host: 'here',
      limitMs: 60_000,
      logger: silent,
    });
    try {
      await pulls.look(1);
      await eventually('the slow ones are being pulled', () => pulling.size > 0);
      wishes.set('good/one', '1');
      owners.set('good/one', 'other');
      await pulls.look(1);
      await eventually('the other owner has its image', () => said.includes('good/one present'));
      assert.deepEqual([...pulling].sort(), ['good/one', 'tarpit/0', 'tarpit/1']);
    } finally {
      await pulls.stop();
    }
  });

  it('wait for room on a full disk, and end when they fill it', async () => {
    const said: string[] = [];
    const wishes = new Map([['good/large', '1']]);
    const board = {
      wishes: async () => new Map(wishes),
      wishedBy: async (_host: string, images: readonly string[]) => images.map(() => 'o'),
      forgetWish: async (_host: string, image: string) => void wishes.delete(image),
      say: async (_host: string, _image: string, word: { state: string; step?: string; error?: string }) =>
        void said.push(word.error ?? word.step ?? word.state),
      unsay: async () => undefined,
    } as unknown as ImageBoard;
    let isFull = true;
    let begun = 0;
    const pulls = new ImagePulls({
      runtime: {
        async ensureImage(_image, _tell, signal) {
          begun += 1;
          isFull = true;
          return new Promise((_, reject) =>
            signal.addEventListener('abort', () => reject(new Error('gone'))),
          );
        },
      },
      board,
      host: 'here',
      limitMs: 60_000,
      isDiskFull: () => isFull,
      logger: silent,
    });
    try {
      await pulls.look(1);
      await eventually('it waits', () => said.includes('waiting for room on the disk of the host'));
      assert.equal(begun, 0);
      isFull = false;
      await eventually('it has ended', () =>
        said.includes('The disk of the host has no room for good/large.'),
      );
      assert.equal(begun, 1);
    } finally {
      await pulls.stop();
    }
  });
});
