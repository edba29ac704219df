/** Names of files as bytes, one character a byte, and how they are shown to people. */
import { bytesOfName, type RawName } from '../../trees/directory.ts';

/** Below `root`, as bytes for the calls of Node. */
export const absolute = (root: string, path: RawName): Buffer =>
  path === '.' || path === ''
    ? Buffer.from(root)
    : Buffer.concat([Buffer.from(root.endsWith('/') ? root : `${root}/`), bytesOfName(path)]);

/** `a` and `b` of `a/b`; the directory of `a` is `.`. */
export const parentOf = (path: RawName): RawName => {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '.' : path.slice(0, slash);
};

export const joined = (above: RawName, name: RawName): RawName =>
  above === '' || above === '.' ? name : `${above}/${name}`;

/** As text, if it is UTF-8 that comes back as the same bytes. */
export function utf8Of(name: RawName): string | null {
  const bytes = bytesOfName(name);
  const text = bytes.toString('utf8');
  return !text.includes('\ufffd') && Buffer.from(text).equals(bytes) ? text : null;
}

/** On one line, without anything that a terminal obeys. */
export const shown = (name: RawName): string => {
  const text = bytesOfName(name).toString('utf8');
  return /[\x00-\x1f\x7f-\x9f]/.test(text) ? JSON.stringify(text) : text;
};

/** A pattern that matches this path alone. */
export const exactPattern = (path: RawName, isDirectory: boolean): string => {
  const text = bytesOfName(path)
    .toString('utf8')
    .replaceAll(/[\\*?[]/g, '\\$&')
    .replaceAll(/ +$/g, '\\$&');
  return `/${text}${isDirectory ? '/' : ''}`;
};

/** `a, b and 3 more`. */
export function someOf(names: readonly string[], most = 3): string {
  const rest = names.length - most;
  return `${names.slice(0, most).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}
