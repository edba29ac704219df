import type { Queue } from 'bullmq';
import type { ArtifactStore } from '../src/artifacts/artifact-store.ts';
import type { Config } from '../src/config.ts';
import type { CacheService } from '../src/caches/service.ts';
import type { HostService } from '../src/hosts/service.ts';
import type { ImageService } from '../src/images/service.ts';
import type { TokenVerifier } from '../src/identity/principal.ts';
import type { SessionStore } from '../src/identity/session.ts';
import type { Tokens } from '../src/identity/tokens.ts';
import type { JobService } from '../src/jobs/service.ts';
import type { EventJournal } from '../src/jobs/journal.ts';
import type { JobQueries } from '../src/jobs/queries.ts';
import type { LogStore } from '../src/logs/log-store.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { Tenants } from '../src/tenants/tenants.ts';
import type { UploadService } from '../src/uploads/service.ts';
import type { HealthCheck } from './health.ts';
import type { RateLimiter } from './rate-limiter.ts';

/** All that the API lives on. Made once, in the composition root; the maker of a resource also closes it. */
export interface ApiResources {
  readonly jobs: JobService;
  readonly uploads: UploadService;
  readonly hosts: HostService;
  readonly images: ImageService;
  readonly caches: CacheService;
  readonly queries: Pick<JobQueries, 'artifacts' | 'artifactParents' | 'artifact'>;
  readonly journal: Pick<EventJournal, 'read' | 'readWithJobs' | 'bounds'>;
  readonly logs: LogStore;
  readonly artifacts: ArtifactStore;
  readonly config: Pick<Config, 'artifactRetentionHours'> &
    Partial<Pick<Config, 'mcpHosts' | 'streamsPerToken' | 'streams' | 'waitsPerToken' | 'waits'>>;
  readonly tokens: TokenVerifier;
  /** What `/tokens` administers; usually the same object. */
  readonly namedTokens: Pick<Tokens, 'create' | 'list' | 'revoke'>;
  readonly tenants: Pick<Tenants, 'inForce' | 'overridden' | 'set' | 'unset'>;
  readonly sessions: SessionStore;
  readonly rateLimiter: RateLimiter;
  readonly healthChecks: readonly HealthCheck[];
  /** The queues that Bull Board shows, now: hosts come and go. Objects stay the same from call to call. */
  readonly boardQueues: () => readonly Queue[] | Promise<readonly Queue[]>;
  readonly logger: Logger;
}
