import type { z } from 'zod';
import type { ListedCache } from '../../../src/caches/service.ts';
import { isoTime } from '../time.ts';
import type { cacheListSchema } from './schema.ts';

export const presentCaches = (caches: readonly ListedCache[]): z.infer<typeof cacheListSchema> => ({
  caches: caches.map(({ name, scope, owner, path, sizeBytes, writtenAt, writtenBy, usedAt, hits, host }) => ({
    name,
    scope,
    owner,
    path,
    size_bytes: sizeBytes,
    written_at: isoTime(writtenAt),
    written_by: writtenBy,
    used_at: isoTime(usedAt),
    hits,
    host,
  })),
});
