// Small pickles and archives, written by hand, so that tests can be wrong in exactly one place.
import { crc32 } from 'node:zlib';

export type Part = string | number | Uint8Array;

/** Opcodes as text (Latin-1), numbers as little-endian 32-bit integers. */
export function bytesOf(...parts: Part[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part, 'latin1');
      if (typeof part !== 'number') return part;
      const word = Buffer.alloc(4);
      word.writeUInt32LE(part);
      return word;
    }),
  );
}

/** BINUNICODE. */
export function text(value: string): Uint8Array {
  const utf8 = Buffer.from(value);
  return bytesOf('X', utf8.length, utf8);
}

/** _rebuild_tensor_v2 of f32 elements in storage `key`. */
export function tensor(key: string, elements: number, offset: number, shape: readonly number[], strides: readonly number[]): Uint8Array {
  const tuple = (values: readonly number[]): Uint8Array => bytesOf('(', ...values.flatMap((v) => ['J', v]), 't');
  const storage = bytesOf('(', text('storage'), 'ctorch\nFloatStorage\n', text(key), text('cpu'), 'J', elements, 'tQ');
  return bytesOf(
    'ctorch._utils\n_rebuild_tensor_v2\n(',
    storage,
    'J',
    offset,
    tuple(shape),
    tuple(strides),
    '\x89',
    'ccollections\nOrderedDict\n)R',
    'tR',
  );
}

/** {name: value} of protocol 2. */
export function dictPickle(name: string, value: Uint8Array): Uint8Array {
  return bytesOf('\x80\x02}(', text(name), value, 'u.');
}

/** Little-endian fields of 2, 4 or 8 bytes. */
function fields(...values: readonly [bytes: 2 | 4 | 8, value: number][]): Uint8Array {
  return Buffer.concat(
    values.map(([bytes, value]) => {
      const field = Buffer.alloc(8);
      field.writeBigUInt64LE(BigInt(value));
      return field.subarray(0, bytes);
    }),
  );
}

/** A zip archive of stored records; `wide` puts every size and offset into zip64 fields, as in archives beyond 4 GB. */
export function zip(records: Readonly<Record<string, Uint8Array>>, wide = false): Uint8Array {
  const local: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, data] of Object.entries(records)) {
    const size = wide ? 0xffffffff : data.length;
    const extra = wide ? fields([2, 1], [2, 24], [8, data.length], [8, data.length], [8, at]) : new Uint8Array(0);
    const common = fields([2, 20], [2, 0], [2, 0], [4, 0], [4, crc32(data)], [4, size], [4, size], [2, name.length], [2, extra.length]);
    const record = bytesOf('PK\x03\x04', common, name, extra, data);
    local.push(record);
    directory.push(
      bytesOf('PK\x01\x02', '\x14\x00', common, fields([2, 0], [4, 0], [4, 0], [4, wide ? 0xffffffff : at]).subarray(0, 14), name, extra),
    );
    at += record.length;
  }
  const entries = Buffer.concat(directory);
  const n = directory.length;
  const end64 = bytesOf('PK\x06\x06', fields([8, 44], [2, 45], [2, 45], [4, 0], [4, 0], [8, n], [8, n], [8, entries.length], [8, at]));
  const locator = bytesOf('PK\x06\x07', fields([4, 0], [8, at + entries.length], [4, 1]));
  const end = wide
    ? fields([2, 0], [2, 0], [2, 0xffff], [2, 0xffff], [4, 0xffffffff], [4, 0xffffffff], [2, 0])
    : fields([2, 0], [2, 0], [2, n], [2, n], [4, entries.length], [4, at], [2, 0]);
  return bytesOf(...local, entries, ...(wide ? [end64, locator] : []), 'PK\x05\x06', end);
}

/** A .pth archive around a pickle, with one storage '0'. */
export function pth(pickle: Uint8Array, storage: Uint8Array = new Uint8Array(0), wide = false): Uint8Array {
  return zip({ 'archive/data.pkl': pickle, 'archive/data/0': storage, 'archive/version': bytesOf('3\n') }, wide);
}
