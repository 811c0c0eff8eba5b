// Headers of tar archives: ustar (POSIX.1-1988), pax records (POSIX.1-2001), GNU long names and base-256 sizes. Only headers are read;
// packages for tar hand out the contents as streams, while an image is wanted as a byte range of the archive.
import { type FileHandle, open } from 'node:fs/promises';
import { DatasetError } from '../core/errors.js';

const BLOCK = 512;
const MAX_NAME_BYTES = 1 << 20;
const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;

/** A regular file in an archive. */
export interface TarMember {
  readonly name: string;
  /** Offset of the content in the (decompressed) archive, bytes. */
  readonly offset: number;
  readonly size: number;
}

export interface TarEntry extends TarMember {
  /** 'file', or what else the entry is, in words. */
  readonly kind: string;
  /** The content; only until the next entry is asked for. */
  content(): Promise<Uint8Array>;
}

/** Bytes of an archive from front to back. */
export interface TarReader {
  readonly position: number;
  /** `n` bytes, fewer at the end. They stay valid until the next call. */
  read(n: number): Promise<Uint8Array>;
  /** Moves on; false when the archive ends before. */
  skip(n: number): Promise<boolean>;
}

const WINDOW = 1 << 16;

/** A file: what is skipped is not read. */
export class FileTarReader implements TarReader {
  position = 0;
  private from = 0;
  private window = new Uint8Array(0);

  private constructor(
    private readonly handle: FileHandle,
    readonly size: number,
  ) {}

  static async open(path: string): Promise<FileTarReader> {
    const handle = await open(path, 'r');
    return new FileTarReader(handle, (await handle.stat()).size);
  }

  async read(n: number): Promise<Uint8Array> {
    const at = this.position - this.from;
    if (at < 0 || at + n > this.window.length) {
      const bytes = new Uint8Array(Math.max(n, WINDOW));
      let filled = 0;
      for (let got = -1; filled < bytes.length && got !== 0; filled += got)
        got = (await this.handle.read(bytes, filled, bytes.length - filled, this.position + filled)).bytesRead;
      this.window = bytes.subarray(0, filled);
      this.from = this.position;
    }
    const start = this.position - this.from;
    const out = this.window.subarray(start, start + n);
    this.position += out.length;
    return out;
  }

  async skip(n: number): Promise<boolean> {
    this.position += n;
    return this.position <= this.size;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** A stream, for compressed archives: everything passes by. */
export class StreamTarReader implements TarReader {
  position = 0;
  private readonly chunks: AsyncIterator<Uint8Array>;
  private rest: Uint8Array = new Uint8Array(0);

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.chunks = stream[Symbol.asyncIterator]();
  }

  async read(n: number): Promise<Uint8Array> {
    const out = new Uint8Array(n);
    let filled = 0;
    while (filled < n && (await this.more())) {
      const part = this.rest.subarray(0, n - filled);
      out.set(part, filled);
      filled += part.length;
      this.rest = this.rest.subarray(part.length);
    }
    this.position += filled;
    return out.subarray(0, filled);
  }

  async skip(n: number): Promise<boolean> {
    let left = n;
    while (left > 0 && (await this.more())) {
      const part = Math.min(left, this.rest.length);
      this.rest = this.rest.subarray(part);
      left -= part;
    }
    this.position += n - left;
    return left === 0;
  }

  /** Reads to the end, so that checksums of the stream are verified. */
  async drain(): Promise<void> {
    while (await this.more()) this.rest = new Uint8Array(0);
  }

  async close(): Promise<void> {
    await this.chunks.return?.();
  }

  private async more(): Promise<boolean> {
    while (this.rest.length === 0) {
      const { value, done } = await this.chunks.next();
      if (done) return false;
      this.rest = value;
    }
    return true;
  }
}

const KINDS: Readonly<Record<string, string>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a device',
  '4': 'a device',
  '5': 'folder',
  '6': 'a pipe',
  S: 'a sparse file',
};

interface Overrides {
  path?: string;
  size?: number;
}

/**
 * Entries of an archive in order. Throws DatasetError naming `file` where a header is damaged or the archive is cut off; an archive
 * that only lacks the closing empty blocks is read, as tar itself does.
 */
export async function* tarEntries(reader: TarReader, file: string): AsyncGenerator<TarEntry> {
  let next: Overrides = {};
  const global: Overrides = {};
  for (;;) {
    const at = reader.position;
    const block = await reader.read(BLOCK);
    if (block.length === 0 || (block.length === BLOCK && block.every((byte) => byte === 0))) return;
    if (block.length < BLOCK) throw cut(file, at, 'in a header');
    const header = parseHeader(block, file, at);
    if ('xgLK'.includes(header.type)) {
      if (header.size > MAX_NAME_BYTES) throw new DatasetError(`${file}: a header of ${header.size} bytes at ${at}`, { file });
      const bytes = (await reader.read(header.size)).slice();
      if (bytes.length < header.size || !(await reader.skip(padded(header.size) - header.size))) throw cut(file, at, 'in a long name');
      if (header.type === 'x') next = { ...next, ...paxRecords(bytes, file, at) };
      else if (header.type === 'g') Object.assign(global, paxRecords(bytes, file, at));
      else if (header.type === 'L') next.path = text(bytes);
      continue;
    }
    const { path: name = header.name, size = header.size } = { ...global, ...next };
    next = {};
    const offset = reader.position;
    const kind = KINDS[header.type] ?? `an entry of type ${JSON.stringify(header.type)}`;
    yield {
      name,
      offset,
      size,
      kind: kind === 'file' && name.endsWith('/') ? 'folder' : kind,
      content: async () => {
        const bytes = (await reader.read(size)).slice();
        if (bytes.length < size) throw cut(file, offset, `in ${name}`);
        return bytes;
      },
    };
    if (!(await reader.skip(offset + padded(size) - reader.position))) throw cut(file, offset, `in ${name}`);
  }
}

const cut = (file: string, at: number, where: string): DatasetError =>
  new DatasetError(`${file}: the archive ends ${where} that begins at byte ${at}; it is cut off`, { file });

interface Header {
  name: string;
  size: number;
  type: string;
}

function parseHeader(b: Uint8Array, file: string, at: number): Header {
  let sum = 8 * 32;
  let signed = 8 * 32;
  for (let i = 0; i < BLOCK; i++) {
    if (i >= 148 && i < 156) continue;
    sum += b[i]!;
    signed += b[i]! > 127 ? b[i]! - 256 : b[i]!;
  }
  const stored = Number.parseInt(text(b.subarray(148, 156)).trim(), 8);
  if (stored !== sum && stored !== signed)
    throw new DatasetError(`${file}: no tar header at byte ${at} (its checksum is wrong); the archive is damaged or not a tar file`, {
      file,
    });
  const type = String.fromCharCode(b[156]!);
  const size = type === '5' || type === '1' || type === '2' ? 0 : number(b.subarray(124, 136));
  if (!Number.isSafeInteger(size) || size < 0) throw new DatasetError(`${file}: a member at byte ${at} has no valid size`, { file });
  const ustar = text(b.subarray(257, 262)) === 'ustar' && b[262] === 0;
  const prefix = ustar ? text(b.subarray(345, 500)) : '';
  const name = text(b.subarray(0, 100));
  return { name: prefix ? `${prefix}/${name}` : name, size, type };
}

/** An octal number, or GNU's base 256 for large ones. */
function number(field: Uint8Array): number {
  if ((field[0]! & 0x80) === 0) {
    const digits = text(field).trim();
    return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
  }
  let value = field[0]! & 0x7f;
  for (const byte of field.subarray(1)) value = value * 256 + byte;
  return value;
}

const decoder = new TextDecoder();

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** `length key=value\n` records; only path and size matter here. */
function paxRecords(bytes: Uint8Array, file: string, at: number): Overrides {
  const out: Overrides = {};
  for (let from = 0; from < bytes.length && bytes[from] !== 0; ) {
    const space = bytes.indexOf(32, from);
    const length = space < 0 ? Number.NaN : Number(decoder.decode(bytes.subarray(from, space)));
    if (!Number.isInteger(length) || length < 5 || from + length > bytes.length)
      throw new DatasetError(`${file}: a damaged pax record at byte ${at}`, { file });
    const record = decoder.decode(bytes.subarray(space + 1, from + length - 1));
    const equals = record.indexOf('=');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === 'path') out.path = value;
    else if (key === 'size' && /^\d+$/.test(value)) out.size = Number(value);
    else if (key.startsWith('GNU.sparse.')) throw new DatasetError(`${file}: sparse files are not supported (byte ${at})`, { file });
    from += length;
  }
  return out;
}
