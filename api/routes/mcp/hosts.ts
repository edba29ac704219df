import { isIP } from 'node:net';
import { FlashpodsError } from '../../../src/errors.ts';

/** `example.org:8080` → `example.org`; `[::1]:8080` → `::1`. Lower case; null for what is no host. */
function nameOf(host: string): string | null {
  const url = URL.parse(`http://${host}`);
  if (!url || url.host.toLowerCase() !== withoutDefaultPort(host).toLowerCase()) return null;
  return url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
}

const withoutDefaultPort = (host: string): string => host.replace(/:80$/, '');

/**
 * Refuses what a page of another origin, or of a name that was made to lead here (DNS rebinding), could send with the
 * help of somebody's browser. An address can't be rebound, so every address will do; of names only `localhost`, those
 * below it, and those that the configuration lists.
 * @throws FlashpodsError insufficient_scope
 */
export function requireKnownHost(
  { host, origin }: { host: string; origin: string },
  allowed: readonly string[],
): void {
  const name = nameOf(host);
  const known =
    name !== null &&
    (isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost') || allowed.includes(name));
  if (!known) {
    throw new FlashpodsError(
      'insufficient_scope',
      'This host name is not one of this server’s: use its address, or list the name in FLASHPODS_MCP_HOSTS.',
    );
  }
  if (origin !== '' && origin !== `http://${host}` && origin !== `https://${host}`) {
    throw new FlashpodsError('insufficient_scope', 'Pages of another origin may not use this server.');
  }
}
