// Checksums of zip archives, computed in pieces so that the event loop goes on.
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { checkSignal, checkString, throwIfAborted } from '../core/check.js';
import { fail, quote } from './fail.js';
import { SourceFile } from './file.js';
import type { Region } from './value.js';
import { readZipDirectory } from './zip.js';

/** One to two milliseconds of work. */
const PIECE = 4 * 2 ** 20;

/** CRC-32 of bytes, continued from `crc`. */
export async function checksum(bytes: Uint8Array, crc = 0): Promise<number> {
  let value = crc;
  for (let at = 0; at < bytes.length; at += PIECE) {
    value = crc32(bytes.subarray(at, at + PIECE), value);
    if (at + PIECE < bytes.length) await setImmediate();
  }
  return value;
}

/**
 * Reads a .pth file of stored records to the end and compares every record with its checksum. Throws CheckpointError where the file is
 * truncated, damaged, or no such archive.
 */
export async function verifyPth(path: string, options: { signal?: AbortSignal } = {}): Promise<void> {
  const signal = checkSignal(options.signal);
  const file = await SourceFile.open(checkString('verifyPth: path', path));
  try {
    for (const [name, region] of await readZipDirectory(file)) {
      throwIfAborted(signal);
      if (region.deflated !== undefined || region.crc === undefined) continue;
      if ((await recordChecksum(file, region)) !== region.crc)
        fail({ file: path, key: name, offset: region.offset }, `record ${quote(name)} is damaged: its checksum differs`);
    }
  } finally {
    await file.done();
  }
}

async function recordChecksum(file: SourceFile, { offset, byteLength }: Region): Promise<number> {
  let crc = 0;
  for (let at = 0; at < byteLength; at += PIECE) crc = crc32(await file.read(offset + at, Math.min(PIECE, byteLength - at)), crc);
  return crc;
}
