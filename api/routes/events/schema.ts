import { z } from 'zod';

const POSITION = '`id` of the last event that was received; the stream goes on after it';

export const eventsQuery = z.strictObject({
  last_event_id: z.string().max(64).optional().describe(`${POSITION}; the header wins`),
});

export const eventsHeaders = z.object({ 'Last-Event-ID': z.string().optional().describe(POSITION) });
