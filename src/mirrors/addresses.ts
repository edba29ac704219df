/** Addresses of mirrors and proxies, which may hold a name and a password. */

/** The schemes of a package registry's address. */
const WEB = /^https?:\/\//;

/** Whether it is an http(s) address that can be written into any configuration file as it is. */
export function isWebAddress(value: string): boolean {
  if (!WEB.test(value) || !/^[\x21-\x7e]+$/.test(value) || /["'`<>\\{}|^]/.test(value)) return false;
  return URL.canParse(value) && new URL(value).hostname !== '';
}

export interface Account {
  readonly name: string;
  readonly password: string;
}

export interface Address {
  /** Without the account. */
  readonly url: string;
  readonly account: Account | null;
}

/** Takes the account out of an address: in lock files and messages it would be read by others. */
export function addressOf(value: string): Address {
  const url = new URL(value);
  const { username, password } = url;
  if (username === '' && password === '') return { url: value, account: null };
  url.username = '';
  url.password = '';
  // What was written without a slash at its end stays so.
  const bare = value.endsWith('/') ? url.href : url.href.replace(/\/$/, '');
  return {
    url: bare,
    account: { name: decodeURIComponent(username), password: decodeURIComponent(password) },
  };
}

/** With a slash at its end. */
export const asDirectory = (url: string): string => (url.endsWith('/') ? url : `${url}/`);

/** Without one. */
export const withoutSlash = (url: string): string => url.replace(/\/+$/, '');
