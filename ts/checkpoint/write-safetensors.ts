// Writer of safetensors files: tensors in falling order of alignment, then name, as the format's own library writes them.

import { type AtomicOptions, writeFileAtomic } from '../core/atomic.js';
import { refuse } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import { fileDType } from './dtype.js';
import { isTensorSource, readSource, sourceBytes, type TensorSource } from './source.js';

/** Tensor data begin at a multiple of this, so that every element is aligned in a mapped file. */
const ALIGNMENT = 64;

/** Writes tensors (engine tensors, or bytes with dtype and shape), one in memory at a time. The file appears whole or not at all. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorSource> | Readonly<Record<string, TensorSource>>,
  metadata?: Readonly<Record<string, string>>,
  options: AtomicOptions = {},
): Promise<void> {
  const entries = [...(tensors instanceof Map ? tensors : Object.entries(tensors))] as [string, TensorSource][];
  for (const [name, source] of entries)
    if (!isTensorSource(source)) refuse(`writeSafetensors: ${JSON.stringify(name)}`, source, 'a tensor, or { dtype, shape, data }');
  entries.sort(([a, x], [b, y]) => fileDType(y.dtype).size - fileDType(x.dtype).size || (a < b ? -1 : a > b ? 1 : 0));
  const header = encodeHeader(entries, metadata);
  await writeFileAtomic(
    path,
    async (file) => {
      await file.append(header);
      for (const [name, source] of entries) await file.append(await readSource(source, name));
    },
    options,
  );
}

function encodeHeader(entries: readonly [string, TensorSource][], metadata: Readonly<Record<string, string>> | undefined): Uint8Array {
  const parts: string[] = [];
  if (metadata) parts.push(`"__metadata__":${encodeMetadata(metadata)}`);
  const names = new Set(['__metadata__']);
  let at = 0;
  for (const [name, source] of entries) {
    const dtype = fileDType(source.dtype).safetensors;
    if (dtype === undefined) throw new ArgumentError(`writeSafetensors: ${name} is ${source.dtype}, which the format does not have`);
    if (names.has(name)) throw new ArgumentError(`writeSafetensors: the name ${JSON.stringify(name)} occurs twice or is reserved`);
    names.add(name);
    const end = at + sourceBytes(source);
    parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${source.shape}],"data_offsets":[${at},${end}]}`);
    at = end;
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`);
  const padded = Math.ceil((8 + json.length) / ALIGNMENT) * ALIGNMENT - 8;
  const out = new Uint8Array(8 + padded).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(json, 8);
  return out;
}

function encodeMetadata(metadata: Readonly<Record<string, string>>): string {
  for (const [name, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') throw new ArgumentError(`writeSafetensors: metadata ${JSON.stringify(name)} is no string`);
  }
  return JSON.stringify(metadata);
}
