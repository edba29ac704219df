/**
 * What installs packages over an image, in a container of its own: a script for the image's `/bin/sh`, which prints for
 * people on stdout, and for {@link BuildReport} on stderr.
 */
import { nameOf } from './names.ts';
import { nearest } from './nearest.ts';

/** How the script ends. */
export const ENDS = { done: 0, noLists: 91, noPackage: 92, noInstall: 93 } as const;

const SCRIPT = String.raw`
exec 3>&2 2>&1
apt="apt-get -q -y -o Acquire::Retries=3 -o APT::Update::Error-Mode=any -o APT::Install-Recommends=false -o Acquire::Languages=none -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
PRETTY_NAME=
[ ! -r /etc/os-release ] || . /etc/os-release
printf 'release %s\n' "$PRETTY_NAME" >&3
$apt update || exit ${ENDS.noLists}

lacks=
for wanted; do
  name="\${wanted%%=*}"
  # Of an unknown name apt would make a pattern, and of a sign at its end "remove this".
  apt-cache showpkg "$name" 2>/dev/null | grep -qxF "Package: $name" && continue
  lacks=1
  printf 'lacks %s\n' "$name" >&3
  stem="\${name#lib}"
  stem="\${stem%-dev}"
  begin="$(printf %.5s "$stem" | tr -cd a-z0-9)"
  apt-cache pkgnames 2>/dev/null | grep -e "^$begin" -e "^lib$begin" -e "-$begin" | head -n 3000 | sed 's/^/near /' >&3
done
[ -z "$lacks" ] || exit ${ENDS.noPackage}

# A service would be started here, where nobody needs it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  mkdir -p /usr/sbin && printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  made=1
fi
# Java's packages put links there, and fail without.
mkdir -p /usr/share/man/man1
$apt install "$@" || exit ${ENDS.noInstall}
[ -z "\${made-}" ] || rm -f $policy
# Chromium's own sandbox is made of namespaces, which no job can make: the container is its sandbox.
[ ! -d /etc/chromium.d ] || printf '%s\n' 'export CHROMIUM_FLAGS="$CHROMIUM_FLAGS --no-sandbox"' >/etc/chromium.d/flashpods
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
exit ${ENDS.done}
`.replaceAll('\\$', '$');

/** @param packages as `isPackage` knows them: none can be an option */
export const installCommand = (packages: readonly string[]): string[] => [
  '/bin/sh',
  '-c',
  SCRIPT,
  'install',
  ...packages,
];

/** What the script says of itself; all of it may be a hostile image's. */
export class BuildReport {
  #release = '';
  readonly #lacks: string[] = [];
  readonly #near: string[] = [];
  /** Lines of apt that say what went wrong. */
  readonly #complaints: string[] = [];

  /** A line for us. */
  note(line: string): void {
    const [word = '', ...rest] = line.split(' ');
    const text = rest.join(' ').slice(0, 100);
    if (word === 'release') this.#release = text;
    if (word === 'lacks' && this.#lacks.length < 20) this.#lacks.push(text);
    if (word === 'near' && this.#near.length < 50_000) this.#near.push(text);
  }

  /** A line for people. */
  read(line: string): void {
    if (/^(?:E:|dpkg: error)/.test(line) && this.#complaints.length < 3)
      this.#complaints.push(line.replace(/^E: */, '').slice(0, 300));
  }

  /** @returns what is not there, and what is like it, in a sentence */
  lacking(): string {
    const release = this.#release === '' ? 'The image' : this.#release;
    return this.#lacks
      .map((name) => {
        const like = nearest(name, this.#near);
        const hint = like.length > 0 ? ` Most like it: ${like.join(', ')}.` : '';
        return `${release} has no package ${name}.${hint}`;
      })
      .join(' ');
  }

  /** Whether apt knows a name, and has nothing to install under it. */
  get isUnavailable(): boolean {
    return this.#complaints.some((line) =>
      /has no installation candidate|^Unable to locate package|^Version '.*' for '.*' was not found/.test(
        line,
      ),
    );
  }

  /** @returns why apt failed, in a sentence */
  failure(packages: readonly string[], exitCode: number | null): string {
    const said = this.#complaints.length > 0 ? ` apt said: ${this.#complaints.join(' ')}` : '';
    if (exitCode === ENDS.noLists)
      return `The package sources of the image could not be read: the name of a package is not what is wrong.${said}`;
    const why = exitCode === null || exitCode === ENDS.noInstall ? '' : ` (exit code ${exitCode})`;
    return `${packages.map(nameOf).join(', ')} could not be installed${why}.${said}`;
  }
}
