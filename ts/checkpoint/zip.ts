// Directory of a zip archive (APPNOTE 6.3, zip64 included). Own reader because records must be found as byte ranges of the file, to
// be mapped; libraries hand out decompressed streams. Only reading; nothing is ever extracted to a disk.
import { inflateRawSync } from 'node:zlib';
import { fail, quote } from './fail.js';
import type { SourceFile } from './file.js';
import { LIMITS } from './limits.js';
import type { Region } from './value.js';

interface Entry {
  name: string;
  flags: number;
  method: number;
  crc: number;
  compressed: number;
  size: number;
  localOffset: number;
}

interface Directory {
  offset: number;
  bytes: number;
  count: number;
}

const EOCD_BYTES = 22;
const PARALLEL_READS = 32;

/** Name -> byte range of every record. Refuses whatever torch.save does not write: encryption, duplicates, unsafe names, overlaps. */
export async function readZipDirectory(file: SourceFile): Promise<Map<string, Region>> {
  const directory = await findDirectory(file);
  if (directory.bytes > LIMITS.zipDirectory)
    fail({ file: file.path }, `zip directory of ${directory.bytes} bytes, at most ${LIMITS.zipDirectory} are read`);
  const entries = parseDirectory(await file.read(directory.offset, directory.bytes), directory, file.path);
  const regions = new Map<string, Region>();
  for (let i = 0; i < entries.length; i += PARALLEL_READS) {
    const part = entries.slice(i, i + PARALLEL_READS);
    const found = await Promise.all(part.map((entry) => locate(file, entry, directory.offset)));
    for (const [j, region] of found.entries()) regions.set(part[j]!.name, region);
  }
  checkOverlap(regions, file.path);
  return regions;
}

async function findDirectory(file: SourceFile): Promise<Directory> {
  const tailBytes = Math.min(file.size, EOCD_BYTES + 0xffff);
  const tailStart = file.size - tailBytes;
  const tail = await file.read(tailStart, tailBytes);
  const view = new DataView(tail.buffer);
  for (let at = tailBytes - EOCD_BYTES; at >= 0; at--) {
    if (view.getUint32(at, true) !== 0x06054b50 || at + EOCD_BYTES + view.getUint16(at + 20, true) !== tailBytes) continue;
    const found = { count: view.getUint16(at + 10, true), bytes: view.getUint32(at + 12, true), offset: view.getUint32(at + 16, true) };
    if (view.getUint16(at + 4, true) !== 0 && view.getUint16(at + 4, true) !== 0xffff)
      fail({ file: file.path }, 'archive of several volumes');
    const is64 = found.count === 0xffff || found.bytes === 0xffffffff || found.offset === 0xffffffff;
    const end = tailStart + at;
    const directory = is64 ? ((await zip64Directory(file, end)) ?? found) : found;
    if (directory.offset + directory.bytes > end)
      fail({ file: file.path, offset: end }, 'the zip directory lies beyond the end of the file');
    if (directory.count === 0) fail({ file: file.path, offset: end }, 'zip archive without records');
    if (directory.count > LIMITS.zipEntries)
      fail({ file: file.path, offset: end }, `${directory.count} records, at most ${LIMITS.zipEntries} are read`);
    return directory;
  }
  return fail({ file: file.path }, 'zip archive without its end record: the file is truncated');
}

async function zip64Directory(file: SourceFile, end: number): Promise<Directory | undefined> {
  if (end < 20) return undefined;
  const locator = new DataView((await file.read(end - 20, 20)).buffer);
  if (locator.getUint32(0, true) !== 0x07064b50) return undefined;
  const at = safe(locator.getBigUint64(8, true), file.path, end - 20);
  if (at + 56 > file.size) fail({ file: file.path, offset: end - 20 }, 'zip64 end record beyond the end of the file');
  const record = new DataView((await file.read(at, 56)).buffer);
  if (record.getUint32(0, true) !== 0x06064b50) fail({ file: file.path, offset: at }, 'no zip64 end record where its locator points');
  return {
    count: safe(record.getBigUint64(32, true), file.path, at),
    bytes: safe(record.getBigUint64(40, true), file.path, at),
    offset: safe(record.getBigUint64(48, true), file.path, at),
  };
}

function safe(value: bigint, file: string, offset: number): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) fail({ file, offset }, `zip64 field of ${value}`);
  return Number(value);
}

function parseDirectory(bytes: Uint8Array, directory: Directory, file: string): Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Entry[] = [];
  const names = new Set<string>();
  let at = 0;
  while (at < bytes.length) {
    const where = { file, offset: directory.offset + at };
    if (at + 46 > bytes.length || view.getUint32(at, true) !== 0x02014b50) fail(where, 'damaged zip directory');
    const nameBytes = view.getUint16(at + 28, true);
    const extraBytes = view.getUint16(at + 30, true);
    const next = at + 46 + nameBytes + extraBytes + view.getUint16(at + 32, true);
    if (next > bytes.length) fail(where, 'damaged zip directory');
    const entry: Entry = {
      name: recordName(bytes.subarray(at + 46, at + 46 + nameBytes), file, where.offset),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      compressed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      localOffset: view.getUint32(at + 42, true),
    };
    applyZip64Extra(entry, view, at + 46 + nameBytes, extraBytes, file);
    if (names.has(entry.name)) fail({ file, key: entry.name, offset: where.offset }, 'the archive holds this record twice');
    names.add(entry.name);
    entries.push(entry);
    at = next;
  }
  if (entries.length !== directory.count)
    fail({ file }, `the zip directory holds ${entries.length} records, its end record claims ${directory.count}`);
  return entries;
}

function recordName(bytes: Uint8Array, file: string, offset: number): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return fail({ file, offset }, 'record name is not valid UTF-8');
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL and its like are what is refused
  if (/[\u0000-\u001f\\]|^\/|(^|\/)\.\.?(\/|$)/.test(name)) fail({ file, key: name, offset }, 'unsafe record name');
  return name;
}

function applyZip64Extra(entry: Entry, view: DataView, start: number, length: number, file: string): void {
  const wide = [entry.size === 0xffffffff, entry.compressed === 0xffffffff, entry.localOffset === 0xffffffff];
  if (!wide.includes(true)) return;
  for (let at = start; at + 4 <= start + length; ) {
    const bytes = view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 1) {
      let field = at + 4;
      const take = (): number => {
        if (field + 8 > at + 4 + bytes || field + 8 > start + length) fail({ file, key: entry.name }, 'damaged zip64 field');
        field += 8;
        return safe(view.getBigUint64(field - 8, true), file, field - 8);
      };
      if (wide[0]) entry.size = take();
      if (wide[1]) entry.compressed = take();
      if (wide[2]) entry.localOffset = take();
      return;
    }
    at += 4 + bytes;
  }
}

async function locate(file: SourceFile, entry: Entry, directoryOffset: number): Promise<Region> {
  const where = { file: file.path, key: entry.name, offset: entry.localOffset };
  if (entry.flags & 0x41) fail(where, 'the record is encrypted');
  if (entry.method !== 0 && entry.method !== 8)
    fail(where, `compression method ${entry.method}; only stored and deflated records are read`);
  if (entry.method === 0 && entry.compressed !== entry.size)
    fail(where, `a stored record of ${entry.size} bytes claims ${entry.compressed} in the file`);
  if (entry.method === 8 && entry.size > LIMITS.inflatedBytes)
    fail(where, `compressed record of ${entry.size} bytes, at most ${LIMITS.inflatedBytes} are unpacked; torch.save does not compress`);
  if (entry.localOffset + 30 > directoryOffset) fail(where, 'the record lies beyond the data of the archive');
  const head = await file.read(entry.localOffset, Math.min(30 + 3 * entry.name.length, directoryOffset - entry.localOffset));
  const view = new DataView(head.buffer);
  if (view.getUint32(0, true) !== 0x04034b50) fail(where, 'no record header where the zip directory points');
  const nameBytes = view.getUint16(26, true);
  if (new TextDecoder().decode(head.subarray(30, 30 + nameBytes)) !== entry.name) fail(where, 'the record header has another name');
  if (view.getUint16(8, true) !== entry.method) fail(where, 'record header and zip directory name different compression methods');
  if (view.getUint16(6, true) & 0x41) fail(where, 'the record is encrypted');
  const local = view.getUint32(22, true);
  const deferred = view.getUint16(6, true) & 8;
  if (local !== entry.size && local !== 0xffffffff && !(deferred && local === 0))
    fail(where, `record header gives ${local} bytes, zip directory ${entry.size}`);
  const offset = entry.localOffset + 30 + nameBytes + view.getUint16(28, true);
  if (offset + entry.compressed > directoryOffset)
    fail(where, `record of ${entry.compressed} bytes reaches beyond the data of the archive`);
  return { offset, byteLength: entry.size, crc: entry.crc, ...(entry.method === 8 ? { deflated: entry.compressed } : {}) };
}

function checkOverlap(regions: Map<string, Region>, file: string): void {
  const sorted = [...regions].sort((a, b) => a[1].offset - b[1].offset);
  let end = 0;
  for (const [name, { offset, byteLength, deflated }] of sorted) {
    if (offset < end) fail({ file, key: name, offset }, 'the record overlaps another one');
    end = offset + (deflated ?? byteLength);
  }
}

/** Unpacks the bytes of a region; at most its declared size is ever allocated. */
export function inflateRegion(packed: Uint8Array, region: Region, file: string, key: string): Uint8Array {
  if (region.deflated === undefined) return packed;
  let out: Uint8Array;
  try {
    out = inflateRawSync(packed, { maxOutputLength: Math.max(region.byteLength, 1) });
  } catch (error) {
    return fail({ file, key, offset: region.offset }, `damaged compressed record ${quote(key)} (${(error as Error).message})`);
  }
  if (out.length !== region.byteLength)
    fail({ file, key, offset: region.offset }, `unpacks to ${out.length} bytes instead of ${region.byteLength}`);
  return new Uint8Array(out.buffer, out.byteOffset, out.length);
}
