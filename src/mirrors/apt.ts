/** The sources of apt: what points to the public archives points to the mirrors instead. Others stay as they are. */
import { addressOf, withoutSlash } from './addresses.ts';
import type { Registries } from './mirrors.ts';

const DEBIAN =
  /^https?:\/\/(?:(?:deb|cdn-fastly\.deb|ftp(?:\.[a-z]+)?)\.debian\.org|http(?:redir)?\.debian\.(?:net|org))\/debian\/?$/;
const DEBIAN_SECURITY =
  /^https?:\/\/(?:(?:deb|cdn-fastly\.deb|security|security-cdn)\.debian\.org)\/(?:debian-security\/?)?$/;
const UBUNTU = /^https?:\/\/(?:(?:[a-z]{2}\.)?archive|security)\.ubuntu\.com\/ubuntu\/?$/;
const ADDRESS = /\bhttps?:\/\/[^\s\]]+/g;

interface AptMirrors {
  readonly debian: string | undefined;
  readonly security: string | undefined;
  readonly ubuntu: string | undefined;
}

/** Debian's security archive lies beside the other one, unless said otherwise. */
function mirrorsOf({ aptMirror, aptSecurityMirror, ubuntuMirror }: Registries): AptMirrors {
  const bare = (value: string | undefined): string | undefined =>
    value === undefined ? undefined : addressOf(withoutSlash(value)).url;
  const debian = bare(aptMirror);
  const beside = debian?.endsWith('/debian') ? `${debian}-security` : undefined;
  return { debian, security: bare(aptSecurityMirror) ?? beside, ubuntu: bare(ubuntuMirror) };
}

/**
 * @param text of a list or a `.sources` file
 * @param isOurs the list of an image of ours, whose addresses are those of the machine on which it was made
 */
export function withAptMirrors(text: string, registries: Registries, isOurs: boolean): string {
  const mirrors = mirrorsOf(registries);
  return text
    .split('\n')
    .map((line) => {
      if (/^\s*#/.test(line)) return line;
      const [, suite] = /https?:\/\/\S+\s+(\S+)/.exec(line) ?? [];
      return line.replaceAll(ADDRESS, (address) => {
        const other = DEBIAN.test(address)
          ? mirrors.debian
          : DEBIAN_SECURITY.test(address)
            ? mirrors.security
            : UBUNTU.test(address)
              ? mirrors.ubuntu
              : isOurs && line.startsWith('deb ')
                ? suite?.endsWith('-security')
                  ? mirrors.security
                  : mirrors.debian
                : undefined;
        return other ?? address;
      });
    })
    .join('\n');
}

/** Accounts have a file of their own, which only root reads: addresses are printed. Null where there is none. */
export function aptAuth({ aptMirror, aptSecurityMirror, ubuntuMirror }: Registries): string | null {
  const lines = [aptMirror, aptSecurityMirror, ubuntuMirror].flatMap((value) => {
    if (value === undefined) return [];
    const { url, account } = addressOf(withoutSlash(value));
    return account === null ? [] : [`machine ${url} login ${account.name} password ${account.password}\n`];
  });
  return lines.length === 0 ? null : lines.join('');
}
