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
});
