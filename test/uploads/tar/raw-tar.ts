/** Tars as only an attacker or another program writes them: every field as given, names as raw bytes. */
export interface RawEntry {
  readonly name: string | Buffer;
  /** The type byte: '0' file, '1' link, '2' symlink, '5' directory, 'x' pax … */
  readonly type?: string;
  readonly link?: string | Buffer;
  readonly mode?: number;
  readonly content?: string | Buffer;
  /** What the header says, when that is not the length of `content`. */
  readonly size?: number;
}

export const TAR_END = Buffer.alloc(1024);

const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;

export const rawEntry = ({
  name,
  type = '0',
  link = '',
  mode = 0o644,
  content = '',
  size,
}: RawEntry): Buffer => {
  const header = Buffer.alloc(512);
  const bytes = Buffer.from(content);
  Buffer.from(name).copy(header, 0, 0, 100);
  header.write(octal(mode, 7), 100, 'latin1');
  header.write(octal(0, 7), 108, 'latin1');
  header.write(octal(0, 7), 116, 'latin1');
  header.write(octal(size ?? bytes.length, 11), 124, 'latin1');
  header.write(octal(1_700_000_000, 11), 136, 'latin1');
  header.fill(' ', 148, 156);
  header.write(type, 156, 'latin1');
  Buffer.from(link).copy(header, 157, 0, 100);
  header.write('ustar\x0000', 257, 'latin1');
  header.write(
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      6,
    ),
    148,
    'latin1',
  );
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
};

export const paxEntry = (fields: Readonly<Record<string, string>>): Buffer => {
  const content = Object.entries(fields)
    .map(([key, value]) => {
      const rest = Buffer.byteLength(` ${key}=${value}\n`);
      const length = rest + String(rest + String(rest).length).length;
      return `${length} ${key}=${value}\n`;
    })
    .join('');
  return rawEntry({ name: 'pax', type: 'x', content });
};

/** A whole tar. */
export const rawTar = (...entries: readonly RawEntry[]): Buffer =>
  Buffer.concat([...entries.map(rawEntry), TAR_END]);
