import { z } from 'zod';

/** Milliseconds since the Unix epoch → ISO 8601 in UTC. */
export const isoTime = (at: number): string => new Date(at).toISOString();
export const isoTimeOrNull = (at: number | null): string | null => (at === null ? null : isoTime(at));

export const timeSchema = z.iso.datetime().describe('ISO 8601 in UTC');
