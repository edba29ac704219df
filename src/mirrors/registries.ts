/** The configuration files of package managers. Each is the weakest that its tool reads, so that a project's own wins. */
import { addressOf, asDirectory, isWebAddress, withoutSlash } from './addresses.ts';
import type { Registries } from './mirrors.ts';

/** npm's global configuration; yarn 1 and pnpm read it as well. */
export function npmrc(registry: string): string {
  const { url, account } = addressOf(asDirectory(registry));
  if (account === null) return `registry=${url}\n`;
  const auth = Buffer.from(`${account.name}:${account.password}`).toString('base64');
  // Not in the address, which npm writes into lock files.
  const scope = url.replace(/^https?:/, '');
  // The second is yarn's.
  return `registry=${url}\n${scope}:_auth=${auth}\n${scope}:always-auth=true\n`;
}

/** pip's. */
export const pipConf = (index: string): string =>
  `[global]\nindex-url = ${index}\n${
    index.startsWith('http:') ? `trusted-host = ${new URL(index).host}\n` : ''
  }`;

/** uv's. */
export const uvToml = (index: string): string => `[[index]]\nurl = "${index}"\ndefault = true\n`;

/** As cargo wants it: a sparse index has that word before it and a slash at its end; one of git's is left alone. */
export function cargoIndex(registry: string): string {
  if (registry.endsWith('.git')) return registry;
  return `sparse+${asDirectory(registry.replace(/^sparse\+/, ''))}`;
}

export const cargoConfig = (registry: string): string =>
  `[source.crates-io]\nreplace-with = "flashpods"\n\n[source.flashpods]\nregistry = "${cargoIndex(registry)}"\n`;

export const isCargoRegistry = (value: string): boolean => isWebAddress(value.replace(/^sparse\+/, ''));

/** A list as Go has it: addresses, `direct` and `off`, with commas or bars between. */
export const isGoproxy = (value: string): boolean =>
  value.split(/[,|]/).every((each) => ['direct', 'off'].includes(each) || isWebAddress(each));

/** Hosts for which a proxy is not used, as Java has them. */
const nonProxyHosts = (proxyExcept: string): string =>
  proxyExcept
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((host) => host.replace(/:\d+$/, ''))
    .map((host) => (host.startsWith('.') ? `*${host}` : host))
    .join('|');

interface JavaProxy {
  readonly protocol: 'http' | 'https';
  readonly host: string;
  readonly port: string;
  readonly name: string;
  readonly password: string;
}

function javaProxies({ httpProxy, httpsProxy }: Registries): JavaProxy[] {
  return [['http', httpProxy] as const, ['https', httpsProxy] as const].flatMap(([protocol, value]) => {
    if (value === undefined) return [];
    const { hostname: host, port, protocol: scheme } = new URL(value);
    const account = addressOf(value).account ?? { name: '', password: '' };
    return [{ protocol, host, port: port || (scheme === 'https:' ? '443' : '80'), ...account }];
  });
}

/** What is added to Java's `net.properties`; it has no place for an account. */
export function netProperties(registries: Registries): string {
  const lines = javaProxies(registries).flatMap(({ protocol, host, port }) => [
    `${protocol}.proxyHost=${host}`,
    `${protocol}.proxyPort=${port}`,
  ]);
  if (lines.length === 0) return '';
  const hosts =
    registries.proxyExcept === undefined
      ? []
      : [`http.nonProxyHosts=${nonProxyHosts(registries.proxyExcept)}`];
  return `\n${[...lines, ...hosts].join('\n')}\n`;
}

const xml = (text: string): string =>
  text.replaceAll(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign] ?? '&quot;');

const element = (name: string, values: Readonly<Record<string, string>>): string =>
  `    <${name}>${Object.entries(values)
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `<${key}>${xml(value)}</${key}>`)
    .join('')}</${name}>\n`;

/** Maven's settings of the user; null where nothing of it is set. */
export function mavenSettings(registries: Registries): string | null {
  const { mavenMirror, proxyExcept } = registries;
  const mirror = mavenMirror === undefined ? null : addressOf(withoutSlash(mavenMirror));
  const mirrors =
    mirror === null ? '' : element('mirror', { id: 'flashpods', mirrorOf: 'central', url: mirror.url });
  const account = mirror?.account ?? null;
  const servers =
    account === null
      ? ''
      : element('server', { id: 'flashpods', username: account.name, password: account.password });
  const proxies = javaProxies(registries)
    .map(({ protocol, host, port, name, password }) =>
      element('proxy', {
        id: protocol,
        active: 'true',
        protocol,
        host,
        port,
        username: name,
        password,
        nonProxyHosts: nonProxyHosts(proxyExcept ?? ''),
      }),
    )
    .join('');
  const parts = { mirrors, servers, proxies };
  const body = Object.entries(parts)
    .filter(([, content]) => content !== '')
    .map(([name, content]) => `  <${name}>\n${content}  </${name}>\n`)
    .join('');
  return body === ''
    ? null
    : `<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">\n${body}</settings>\n`;
}
