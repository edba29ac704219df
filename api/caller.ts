import { FlashpodsError } from '../src/errors.ts';
import type { Principal, TokenVerifier } from '../src/identity/principal.ts';

/** A request that takes long is looked at this often: a revoked token ends it within a second. */
const LOOK_AGAIN_MS = 500;

/** Who asks, and by which token. */
export class Caller {
  readonly principal: Principal;
  readonly #digest: Buffer;
  readonly #tokens: TokenVerifier;

  constructor(principal: Principal, digest: Buffer, tokens: TokenVerifier) {
    this.principal = principal;
    this.#digest = digest;
    this.#tokens = tokens;
  }

  /** For what goes on after its request was let in. @throws FlashpodsError invalid_token */
  async requireToken(): Promise<void> {
    if (!(await this.#tokens.find(this.#digest))) throw new FlashpodsError('invalid_token');
  }

  /** Calls back within a second after the token has become worthless. @returns what ends the looking */
  whenRevoked(then: () => void): () => void {
    const timer = setInterval(() => {
      this.#tokens.find(this.#digest).then(
        (still) => {
          if (!still) then();
        },
        () => undefined, // nobody could be asked; the next look may tell
      );
    }, LOOK_AGAIN_MS).unref();
    return () => clearInterval(timer);
  }
}
