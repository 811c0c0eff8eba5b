// Images and archives that the tests of ts/data make for themselves.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';

/** RGB noise that differs by seed. */
export function noise(width: number, height: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => ((i + 1) * 7919 + (i >> 4) * 31 + seed * 101 + ((i * seed) >> 3)) & 255);
}

export const rgb = (width: number, height: number, seed = 0) => sharp(noise(width, height, seed), { raw: { width, height, channels: 3 } });
export const png = (width: number, height: number, seed = 0): Promise<Buffer> => rgb(width, height, seed).png().toBuffer();
export const jpeg = (width: number, height: number, seed = 0): Promise<Buffer> => rgb(width, height, seed).jpeg().toBuffer();

export function put(folder: string, name: string, data: Uint8Array | string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, data);
  return path;
}

export interface TarFile {
  name: string;
  data?: Uint8Array | string;
  type?: string;
  /** How a name above 100 bytes is written. */
  long?: 'pax' | 'gnu';
}

function header(name: string, size: number, type: string): Buffer {
  const b = Buffer.alloc(512);
  b.write(name.slice(0, 100), 0, 'utf8');
  b.write('0000644\0', 100, 'latin1');
  b.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  b.write(`${'0'.repeat(11)}\0`, 136, 'latin1');
  b.write('        ', 148, 'latin1');
  b.write(type, 156, 'latin1');
  b.write('ustar\x0000', 257, 'latin1');
  const sum = b.reduce((total, byte) => total + byte, 0);
  b.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return b;
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(body);
  while (length !== Buffer.byteLength(body) + String(length).length) length = Buffer.byteLength(body) + String(length).length;
  return `${length}${body}`;
}

/** A tar archive, byte by byte. */
export function tar(files: readonly TarFile[], end = true): Buffer {
  const parts: Buffer[] = [];
  for (const { name, data = '', type = '0', long } of files) {
    const content = Buffer.from(data);
    if (long === 'pax') {
      const record = Buffer.from(paxRecord('mtime', '1.5') + paxRecord('path', name));
      parts.push(header('././@PaxHeader', record.length, 'x'), padded(record));
    } else if (long === 'gnu') {
      const record = Buffer.from(`${name}\0`);
      parts.push(header('././@LongLink', record.length, 'L'), padded(record));
    }
    parts.push(header(name, content.length, type), padded(content));
  }
  if (end) parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

export async function take<T>(source: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of source) out.push(item);
  return out;
}

/** The error a promise rejects with; fails where it resolves. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  return await promise.then(
    () => {
      throw new Error('expected a rejection');
    },
    (error: Error) => error,
  );
}
