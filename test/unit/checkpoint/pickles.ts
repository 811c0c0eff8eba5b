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

/** A zip archive of stored records. */
export function zip(records: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const local: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, data] of Object.entries(records)) {
    const rest = Buffer.alloc(26);
    rest.writeUInt16LE(20, 0);
    rest.writeUInt32LE(crc32(data), 10);
    rest.writeUInt32LE(data.length, 14);
    rest.writeUInt32LE(data.length, 18);
    rest.writeUInt16LE(name.length, 22);
    const offset = Buffer.alloc(16);
    offset.writeUInt32LE(at, 10 + 2);
    local.push(bytesOf('PK\x03\x04', rest, name, data));
    directory.push(bytesOf('PK\x01\x02', '\x14\x00', rest.subarray(0, 26), offset.subarray(2), name));
    at += 30 + name.length + data.length;
  }
  const entries = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(directory.length, 4);
  end.writeUInt16LE(directory.length, 6);
  end.writeUInt32LE(entries.length, 8);
  end.writeUInt32LE(at, 12);
  return bytesOf(...local, entries, 'PK\x05\x06', end);
}

/** A .pth archive around a pickle, with one storage '0'. */
export function pth(pickle: Uint8Array, storage: Uint8Array = new Uint8Array(0)): Uint8Array {
  return zip({ 'archive/data.pkl': pickle, 'archive/data/0': storage, 'archive/version': bytesOf('3\n') });
}
