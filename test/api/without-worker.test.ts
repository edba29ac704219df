import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { KnexUploadStore } from '../../src/database/upload-store.ts';
import { newUploadId } from '../../src/ids.ts';
import { eventually } from '../support/eventually.ts';
import { startRole } from '../support/processes.ts';
import { TestRedis } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

describe('an API without a worker', () => {
  it('is told at once of all that it lacks', async () => {
    const directory = await temporaryDirectory();
    const log = join(directory.path, 'api.out');
    try {
      const { code } = await startRole('api', { FLASHPODS_DATA_DIR: directory.path }, log).exited;
      assert.notEqual(code, 0);
      await eventually('both are named', async () => {
        const said = await readFile(log, 'utf8');
        return said.includes('there is no token') && said.includes('FLASHPODS_REDIS_URL is needed');
      });
    } finally {
      await directory.remove();
    }
  });

  it('clears away what has expired', async () => {
    const directory = await temporaryDirectory();
    const redis = await TestRedis.start();
    const files = join(directory.path, 'uploads', 'incoming');
    const database = await Database.open({ path: join(directory.path, 'flashpods.db') });
    const uploads = new KnexUploadStore(database);
    const id = newUploadId();
    await uploads.create({ id, owner: 'default', expiresAt: Date.now() - 1 });
    mkdirSync(join(files, id), { recursive: true });
    const api = startRole(
      'api',
      {
        FLASHPODS_DATA_DIR: directory.path,
        FLASHPODS_REDIS_URL: redis.url,
        FLASHPODS_API_TOKEN: randomBytes(32).toString('hex'),
        FLASHPODS_LISTEN_ADDR: '127.0.0.1:0',
      },
      join(directory.path, 'api.out'),
    );
    try {
      await eventually('it has expired', async () => (await uploads.get(id))?.state === 'expired');
      await eventually('its files are gone', () => !existsSync(join(files, id)));
      assert.equal(await uploads.storedBytes(), 0);
    } finally {
      await api.end();
      await database.close();
      await redis.stop();
      await directory.remove();
    }
  });
});
