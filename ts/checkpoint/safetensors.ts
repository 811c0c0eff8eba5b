// Reader of the safetensors container: u64 little-endian header length, JSON header, tensor bytes without holes.
// Format: https://huggingface.co/docs/safetensors (every rule of its validation is kept; data is not read here).
import { BY_SAFETENSORS, fileDType } from './dtype.js';
import { fail, quote } from './fail.js';
import type { SourceFile } from './file.js';
import { type Json, parseStrictJson } from './json.js';
import { LIMITS } from './limits.js';
import { checkedNumel } from './shape.js';
import { contiguousStrides, FileTensor, PyStorage } from './value.js';

export interface SafetensorsContent {
  tensors: Map<string, FileTensor>;
  metadata: Map<string, string>;
}

interface Span {
  name: string;
  begin: number;
  end: number;
}

/** True when a JSON object follows the eight bytes of a header length. */
export function looksLikeSafetensors(head: Uint8Array): boolean {
  return head.length > 8 && head[8] === 0x7b;
}

/** Reads and validates the header. */
export async function readSafetensors(file: SourceFile): Promise<SafetensorsContent> {
  const where = { file: file.path };
  if (file.size < 8) fail(where, `too short for a safetensors file: ${file.size} bytes`);
  const head = await file.read(0, 8);
  const length = new DataView(head.buffer).getBigUint64(0, true);
  if (length > BigInt(file.size - 8)) fail({ ...where, offset: 0 }, `the header claims ${length} bytes, the file has ${file.size}`);
  if (length > BigInt(LIMITS.safetensorsHeader))
    fail({ ...where, offset: 0 }, `header of ${length} bytes, at most ${LIMITS.safetensorsHeader} are read`);
  if (length < 2n) fail({ ...where, offset: 0 }, 'empty header');
  const header = parseStrictJson(decodeHeader(await file.read(8, Number(length)), file.path), file.path);
  if (!(header instanceof Map)) fail({ ...where, offset: 8 }, 'the header is not a JSON object');
  return interpret(header as Map<string, Json>, file, 8 + Number(length));
}

function decodeHeader(bytes: Uint8Array, file: string): string {
  if (bytes[0] !== 0x7b) fail({ file, offset: 8 }, 'the header does not begin with {');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail({ file, offset: 8 }, 'the header is not valid UTF-8');
  }
}

function interpret(header: Map<string, Json>, file: SourceFile, dataStart: number): SafetensorsContent {
  const tensors = new Map<string, FileTensor>();
  const spans: Span[] = [];
  let metadata = new Map<string, string>();
  const dataBytes = file.size - dataStart;
  for (const [name, entry] of header) {
    if (name === '__metadata__') {
      metadata = readMetadata(entry, file.path);
      continue;
    }
    const { tensor, span } = readEntry(name, entry, file.path, dataStart, dataBytes);
    tensors.set(name, tensor);
    spans.push(span);
  }
  checkSpans(spans, dataBytes, file.path);
  return { tensors, metadata };
}

function readMetadata(entry: Json, file: string): Map<string, string> {
  const where = { file, key: '__metadata__' };
  if (!(entry instanceof Map)) return fail(where, 'is not an object of strings');
  const out = new Map<string, string>();
  for (const [name, value] of entry) {
    if (typeof value !== 'string') return fail(where, `${quote(name)} is not a string`);
    out.set(name, value);
  }
  return out;
}

function readEntry(name: string, entry: Json, file: string, dataStart: number, dataBytes: number): { tensor: FileTensor; span: Span } {
  const where = { file, key: name };
  if (!(entry instanceof Map)) return fail(where, 'the entry is not an object');
  const dtypeName = entry.get('dtype');
  if (typeof dtypeName !== 'string') return fail(where, 'dtype is missing or not a string');
  const dtype = BY_SAFETENSORS.get(dtypeName);
  if (dtype === undefined) return fail(where, `unknown dtype ${quote(dtypeName)}; known are ${[...BY_SAFETENSORS.keys()].join(', ')}`);
  const shape = integers(entry.get('shape'));
  if (!shape) return fail(where, 'shape is missing or not a list of whole numbers');
  const offsets = integers(entry.get('data_offsets'));
  if (offsets?.length !== 2) return fail(where, 'data_offsets is missing or not a pair of whole numbers');
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) fail(where, `data_offsets [${begin}, ${end}] do not lie within the ${dataBytes} bytes of data`);
  const bytes = checkedNumel(shape, where) * fileDType(dtype).size;
  if (bytes !== end - begin) fail(where, `shape [${shape}] of ${dtypeName} needs ${bytes} bytes, data_offsets give ${end - begin}`);
  const storage = new PyStorage(name, dtype, bytes / fileDType(dtype).size);
  storage.region = { offset: dataStart + begin, byteLength: bytes };
  return { tensor: new FileTensor(storage, dtype, shape, contiguousStrides(shape), 0), span: { name, begin, end } };
}

function integers(value: Json | undefined): number[] | undefined {
  return Array.isArray(value) && value.every((v) => typeof v === 'number') ? (value as number[]) : undefined;
}

function checkSpans(spans: Span[], dataBytes: number, file: string): void {
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of spans) {
    if (begin !== at)
      fail({ file, key: name }, begin < at ? `its data overlap the tensor before it` : `${begin - at} unused bytes before its data`);
    at = end;
  }
  if (at !== dataBytes) fail({ file }, `${dataBytes - at} bytes after the last tensor`);
}
