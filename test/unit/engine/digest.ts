// What the null device leaves in a buffer: FNV-1a over op id, parameters and the digests of the inputs (native/null/backend.cpp).
import type { OpDecl } from '../../../ts/core/types.js';

export function fnv(bytes: Uint8Array, start = 2166136261): number {
  let h = start;
  for (const b of bytes) h = Math.imul(h ^ b, 16777619) >>> 0;
  return h;
}

export const ofData = (data: ArrayBufferView): number => fnv(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));

/** Digest of an op's output, or of an input it changes; params in the order of the declaration, floats and integers as they lie in memory. */
export function ofOp(op: OpDecl, params: readonly { f?: number; i?: number }[], inputs: readonly number[]): number {
  const words = new DataView(new ArrayBuffer(4 + 4 * params.length));
  words.setInt32(0, op.id, true);
  params.forEach((p, i) => {
    if (p.f !== undefined) words.setFloat32(4 + 4 * i, p.f, true);
    else words.setInt32(4 + 4 * i, p.i ?? 0, true);
  });
  const h = fnv(new Uint8Array(words.buffer));
  return inputs.reduce((acc, d) => fnv(new Uint8Array(new Uint32Array([d]).buffer), acc), h);
}

export const digest = (values: ArrayLike<number> & ArrayBufferView): number =>
  new DataView(values.buffer, values.byteOffset).getUint32(0, true);
