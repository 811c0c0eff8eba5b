// Writer of the zip container of torch.save: stored records, aligned to 64 bytes, zip64 where sizes ask for it.
import { type AtomicFile, type AtomicOptions, writeFileAtomic } from '../core/atomic.js';
import { pickle, type Writable } from './pickle.js';
import { readSource } from './source.js';
import { checksum } from './verify.js';

const ALIGNMENT = 64;
const ROOT = 'archive';
const MAX32 = 0xffffffff;

interface Record {
  name: Uint8Array;
  crc: number;
  size: number;
  offset: number;
}

/**
 * Writes a value that `torch.load(path, weights_only=True)` opens: tensors of the engine or bytes with dtype and shape, in nested
 * dicts, lists, tuples and plain values. Tensors are read one at a time. The file appears whole or not at all.
 */
export async function writePth(path: string, value: Writable, options: AtomicOptions = {}): Promise<void> {
  const { bytes, storages } = pickle(value);
  await writeFileAtomic(
    path,
    async (file) => {
      const zip = new ZipWriter(file);
      await zip.add(`${ROOT}/data.pkl`, bytes);
      await zip.add(`${ROOT}/byteorder`, ascii('little'));
      for (const [key, source] of storages.entries()) await zip.add(`${ROOT}/data/${key}`, await readSource(source, `tensor ${key}`));
      await zip.add(`${ROOT}/version`, ascii('3\n'));
      await zip.finish();
    },
    options,
  );
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Little-endian fields one after the other. */
function fields(...values: readonly [bytes: 2 | 4 | 8, value: number][]): Uint8Array {
  const out = new Uint8Array(values.reduce((sum, [bytes]) => sum + bytes, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [bytes, value] of values) {
    if (bytes === 2) view.setUint16(at, value, true);
    else if (bytes === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += bytes;
  }
  return out;
}

class ZipWriter {
  private readonly records: Record[] = [];

  constructor(private readonly file: AtomicFile) {}

  /** Record of stored bytes; the extra field 'FB' pads the data to the alignment, as torch does it. */
  async add(name: string, data: Uint8Array): Promise<void> {
    const record: Record = { name: ascii(name), crc: await checksum(data), size: data.length, offset: this.file.position };
    const big = data.length >= MAX32;
    const zip64 = big ? fields([2, 1], [2, 16], [8, data.length], [8, data.length]) : new Uint8Array(0);
    const before = record.offset + 30 + record.name.length + zip64.length + 4;
    const padding = (ALIGNMENT - (before % ALIGNMENT)) % ALIGNMENT;
    const size = big ? MAX32 : data.length;
    const head = fields(
      [4, 0x04034b50],
      [2, big ? 45 : 20],
      [2, 0x800],
      [2, 0],
      [2, 0],
      [2, 0x21],
      [4, record.crc],
      [4, size],
      [4, size],
      [2, record.name.length],
      [2, zip64.length + 4 + padding],
    );
    const pad = new Uint8Array(4 + padding).fill(0x5a);
    pad.set(fields([2, 0x4246], [2, padding]));
    await this.file.append(Buffer.concat([head, record.name, zip64, pad]));
    await this.file.append(data);
    this.records.push(record);
  }

  async finish(): Promise<void> {
    const start = this.file.position;
    await this.file.append(Buffer.concat(this.records.map(directoryEntry)));
    const bytes = this.file.position - start;
    const count = this.records.length;
    if (start >= MAX32 || bytes >= MAX32 || count >= 0xffff) await this.finish64(start, bytes, count);
    await this.file.append(
      fields(
        [4, 0x06054b50],
        [2, 0],
        [2, 0],
        [2, Math.min(count, 0xffff)],
        [2, Math.min(count, 0xffff)],
        [4, Math.min(bytes, MAX32)],
        [4, Math.min(start, MAX32)],
        [2, 0],
      ),
    );
  }

  private async finish64(start: number, bytes: number, count: number): Promise<void> {
    const at = this.file.position;
    await this.file.append(
      fields([4, 0x06064b50], [8, 44], [2, 45], [2, 45], [4, 0], [4, 0], [8, count], [8, count], [8, bytes], [8, start]),
    );
    await this.file.append(fields([4, 0x07064b50], [4, 0], [8, at], [4, 1]));
  }
}

function directoryEntry({ name, crc, size, offset }: Record): Uint8Array {
  const wide: [8, number][] = [];
  if (size >= MAX32) wide.push([8, size], [8, size]);
  if (offset >= MAX32) wide.push([8, offset]);
  const extra = wide.length > 0 ? fields([2, 1], [2, 8 * wide.length], ...wide) : new Uint8Array(0);
  const size32 = Math.min(size, MAX32);
  const head = fields(
    [4, 0x02014b50],
    [2, 45],
    [2, wide.length > 0 ? 45 : 20],
    [2, 0x800],
    [2, 0],
    [2, 0],
    [2, 0x21],
    [4, crc],
    [4, size32],
    [4, size32],
    [2, name.length],
    [2, extra.length],
    [2, 0],
    [2, 0],
    [2, 0],
    [4, 0],
    [4, Math.min(offset, MAX32)],
  );
  return Buffer.concat([head, name, extra]);
}
