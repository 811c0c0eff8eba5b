// Arguments of torch's tensor constructors -> FileTensor, with every number checked against its storage.
import { BY_TORCH, type FileDType, fileDType } from './dtype.js';
import { fail, quote, type Where } from './fail.js';
import { LIMITS } from './limits.js';
import { checkedNumel, isCount } from './shape.js';
import { FileTensor, PyName, PyStorage, PyTuple, type PyValue } from './value.js';

/** _rebuild_tensor(storage, offset, size, stride) and _rebuild_tensor_v2(..., requires_grad, hooks[, metadata]). */
export function rebuildTensor(args: readonly PyValue[], where: Where): FileTensor {
  const [storage] = args;
  if (!(storage instanceof PyStorage)) return fail(where, 'tensor without a storage');
  if (storage.dtype === 'untyped') return fail(where, 'tensor on an untyped storage');
  return makeTensor(storage, storage.dtype, args, where);
}

/** _rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata]): an untyped storage and its dtype. */
export function rebuildTensorV3(args: readonly PyValue[], where: Where): FileTensor {
  const [storage] = args;
  const name = args[6];
  if (!(storage instanceof PyStorage) || !(name instanceof PyName)) return fail(where, 'tensor without a storage or dtype');
  const dtype = name.module === 'torch' ? BY_TORCH.get(name.name) : undefined;
  if (dtype === undefined) return fail(where, `tensor of unknown dtype ${quote(name.toString())}`);
  return makeTensor(storage, dtype, args, where);
}

/** _rebuild_parameter(tensor, requires_grad, hooks[, state]). */
export function rebuildParameter(args: readonly PyValue[], where: Where): FileTensor {
  const [t] = args;
  if (!(t instanceof FileTensor)) return fail(where, 'parameter of something that is no tensor');
  return new FileTensor(t.storage, t.dtype, t.shape, t.strides, t.byteOffset, true);
}

function counts(value: PyValue | undefined, what: string, where: Where): number[] {
  const list = value instanceof PyTuple ? value.items : value;
  if (!Array.isArray(list) || !list.every(isCount))
    return fail(where, `${what} of a tensor is not a tuple of whole numbers from 0 to 2^53`);
  return list as number[];
}

function makeTensor(storage: PyStorage, dtype: FileDType, args: readonly PyValue[], where: Where): FileTensor {
  const offset = args[1];
  const shape = counts(args[2], 'size', where);
  const strides = counts(args[3], 'stride', where);
  if (!isCount(offset)) return fail(where, 'storage offset of a tensor is not a whole number from 0 to 2^53');
  if (shape.length !== strides.length) fail(where, `size has ${shape.length} dimensions, stride ${strides.length}`);
  const itemSize = fileDType(dtype).size;
  const available = storage.dtype === 'untyped' ? Math.floor(storage.elements / itemSize) : storage.elements;
  const numel = checkedNumel(shape, where);
  let last = offset;
  for (const [i, n] of shape.entries()) {
    if (numel > 0) last += (n - 1) * strides[i]!;
    if (!Number.isSafeInteger(last)) fail(where, 'strides of a tensor reach beyond 2^53');
  }
  if (numel > 0 ? last >= available : offset > available) {
    fail(
      where,
      `tensor of shape [${shape}], strides [${strides}], offset ${offset} needs ${last + 1} elements, storage ${quote(storage.key)} has ${available}`,
    );
  }
  if (numel > available && numel * itemSize > LIMITS.expandedBytes) {
    fail(
      where,
      `expanded tensor of shape [${shape}] would take ${numel * itemSize} bytes, at most ${LIMITS.expandedBytes} are written out`,
    );
  }
  return new FileTensor(storage, dtype, shape, strides, offset * itemSize);
}
