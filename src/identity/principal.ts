/** Who asks, and what they may do. */
import { FlashpodsError } from '../errors.ts';

export const SCOPES = ['jobs:read', 'jobs:write', 'uploads:write', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** `admin` includes every other scope and sees every owner's things. */
export interface Principal {
  /** Names the token without revealing it; the rate limit counts by it. */
  readonly tokenId: string;
  readonly owner: string;
  readonly scopes: ReadonlySet<Scope>;
}

/** @throws FlashpodsError insufficient_scope */
export function requireScope({ scopes }: Principal, scope: Scope): void {
  if (scopes.has(scope) || scopes.has('admin')) return;
  throw new FlashpodsError('insufficient_scope', `This needs a token with the scope \`${scope}\`.`, {
    details: { scope },
  });
}

/** Whose things they may see: an owner's name, or null for all of them. */
export const viewOf = ({ scopes, owner }: Principal): string | null => (scopes.has('admin') ? null : owner);

/** Knows tokens by their digest only (see {@link digestOf}), so that nothing it keeps opens a door. */
export interface TokenVerifier {
  /** The holder of the token with this digest, now; null when there is none (any more). */
  find(digest: Buffer): Promise<Principal | null>;
}
