// The allow-list of the unpickler. A name is either a class that only serves as a name, or a constructor with a handler here that
// builds plain data. Everything else is refused by name. To admit another class, add its row; nothing is ever looked up elsewhere.
import { BY_STORAGE, BY_TORCH } from './dtype.js';
import { fail, quote, type Where } from './fail.js';
import { rebuildParameter, rebuildTensor, rebuildTensorV3 } from './rebuild.js';
import { FileTensor, OrderedDict, PyFloat, PyName, PyObject, PyTuple, type PyValue } from './value.js';

type Handler = (args: readonly PyValue[], where: Where) => PyValue;

const CALLABLE = new Map<string, Handler>([
  ['collections.OrderedDict', (args, where) => dictOf(new OrderedDict(), args, where)],
  ['collections.defaultdict', (args, where) => dictOf(new Map(), args.slice(1), where)],
  ['collections.Counter', (args, where) => dictOf(new Map(), args, where)],
  ['builtins.set', (args, where) => new Set(items(args, where))],
  ['__builtin__.set', (args, where) => new Set(items(args, where))],
  ['builtins.frozenset', (args, where) => new Set(items(args, where))],
  ['__builtin__.frozenset', (args, where) => new Set(items(args, where))],
  ['builtins.bytearray', bytesOf],
  ['__builtin__.bytearray', bytesOf],
  ['_codecs.encode', bytesOf],
  ['torch._utils._rebuild_tensor', (args, where) => rebuildTensor(args, where)],
  ['torch._utils._rebuild_tensor_v2', (args, where) => rebuildTensor(args, where)],
  ['torch._utils._rebuild_tensor_v3', (args, where) => rebuildTensorV3(args, where)],
  ['torch._utils._rebuild_parameter', (args, where) => rebuildParameter(args, where)],
  ['torch._utils._rebuild_parameter_with_state', (args, where) => rebuildParameter(args, where)],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['torch.Size', (args, where) => new PyTuple(items(args, where))],
  ['torch.device', (args) => new PyObject('torch.device', args)],
  ['torch.torch_version.TorchVersion', (args) => args[0] ?? ''],
  ['torch.serialization._get_layout', (args) => new PyObject('torch.layout', args)],
  ['argparse.Namespace', (args) => new PyObject('argparse.Namespace', args)],
  ['pathlib.PosixPath', pathOf],
  ['pathlib.PurePosixPath', pathOf],
  ['pathlib.Path', pathOf],
  ['numpy.dtype', (args) => new PyObject('numpy.dtype', args)],
  ['numpy.core.multiarray.scalar', numpyScalar],
  ['numpy._core.multiarray.scalar', numpyScalar],
]);

const STORAGE_MODULES = new Set(['torch', 'torch.cuda', 'torch.storage']);
const UNTYPED = new Set(['UntypedStorage', '_UntypedStorage']);
const NAMES = new Set([
  'torch.Tensor',
  'torch.nn.parameter.Parameter',
  'torch.nn.parameter.Buffer',
  ...['int', 'float', 'bool', 'str', 'list', 'dict', 'tuple', 'set'].flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]),
]);
/** Lightning keys its callback states by the class itself. */
const LIGHTNING_MODULE = /^(pytorch_lightning|lightning\.pytorch)\.callbacks(\.[a-z][a-z_]*)+$/;
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The name as data, or CheckpointError for one that is not allowed. */
export function resolveGlobal(module: string, name: string, where: Where): PyName {
  const full = `${module}.${name}`;
  const known =
    IDENTIFIER.test(name) &&
    (CALLABLE.has(full) ||
      NAMES.has(full) ||
      storageDType(module, name) !== undefined ||
      (module === 'torch' && BY_TORCH.has(name)) ||
      LIGHTNING_MODULE.test(module));
  if (!known) {
    fail(
      where,
      `pickle: refers to ${quote(full)}, which is not on the list of harmless names; nothing of this file was executed. Save a state_dict of tensors and plain values instead`,
    );
  }
  return new PyName(module, name);
}

/** dtype of a storage class, 'untyped', or undefined when it is no storage class. */
export function storageDType(module: string, name: string): ReturnType<typeof BY_STORAGE.get> | 'untyped' {
  if (!STORAGE_MODULES.has(module)) return undefined;
  return UNTYPED.has(name) ? 'untyped' : BY_STORAGE.get(name);
}

export function callGlobal(callee: PyName, args: readonly PyValue[], where: Where): PyValue {
  const handler = CALLABLE.get(`${callee.module}.${callee.name}`);
  if (!handler) return fail(where, `pickle: ${quote(callee.toString())} may be named but not called`);
  return handler(args, where);
}

/** BUILD: state given to an object. */
export function buildState(target: PyValue, state: PyValue, where: Where): void {
  if (target instanceof OrderedDict && state instanceof Map) target.attributes = state;
  else if (target instanceof PyObject) target.state = state;
  else fail(where, 'pickle: BUILD of an object that takes no state');
}

function dictOf<M extends Map<PyValue, PyValue>>(dict: M, args: readonly PyValue[], where: Where): M {
  const [source, more] = args;
  if (more !== undefined) fail(where, 'pickle: dict with several arguments');
  const pairs =
    source instanceof Map ? [...source] : source === undefined || source === null ? [] : items([source], where).map(pairOf(where));
  for (const [key, value] of pairs) dict.set(key, value);
  return dict;
}

function pairOf(where: Where): (pair: PyValue) => [PyValue, PyValue] {
  return (pair) => {
    const list = pair instanceof PyTuple ? pair.items : Array.isArray(pair) ? pair : [];
    if (list.length !== 2) fail(where, 'pickle: dict from something that is no list of pairs');
    return [list[0]!, list[1]!];
  };
}

function items(args: readonly PyValue[], where: Where): PyValue[] {
  const [source] = args;
  if (args.length > 1) fail(where, 'pickle: too many arguments');
  if (source === undefined) return [];
  if (Array.isArray(source)) return source.slice();
  if (source instanceof PyTuple) return source.items.slice();
  return fail(where, 'pickle: expected a list or tuple');
}

/** bytes as protocol 2 writes them: a Latin-1 string and the codec's name. */
function bytesOf(args: readonly PyValue[], where: Where): Uint8Array {
  const [text, codec] = args;
  if (text === undefined) return new Uint8Array(0);
  if (text instanceof Uint8Array && codec === undefined) return new Uint8Array(text);
  if (typeof text !== 'string' || typeof codec !== 'string' || !/^latin-?1$/.test(codec))
    return fail(where, 'pickle: bytes in an unknown encoding');
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 255) fail(where, 'pickle: bytes beyond 255');
    out[i] = code;
  }
  return out;
}

function pathOf(args: readonly PyValue[], where: Where): string {
  if (!args.every((part) => typeof part === 'string')) fail(where, 'pickle: path of something that is no text');
  return args.join('/').replace(/^\/\//, '/');
}

function rebuildFromType(args: readonly PyValue[], where: Where): PyValue {
  const [func, , inner] = args;
  if (!(func instanceof PyName) || !(inner instanceof PyTuple))
    return fail(where, 'pickle: _rebuild_from_type_v2 with unexpected arguments');
  const value = callGlobal(func, inner.items, where);
  if (!(value instanceof FileTensor)) return fail(where, 'pickle: _rebuild_from_type_v2 of something that is no tensor');
  return value;
}

/** A numpy scalar (dtype, bytes) as a Python number. */
function numpyScalar(args: readonly PyValue[], where: Where): PyValue {
  const [dtype, data] = args;
  const code = dtype instanceof PyObject && dtype.type === 'numpy.dtype' ? dtype.args[0] : undefined;
  if (typeof code !== 'string' || !(data instanceof Uint8Array)) return fail(where, 'pickle: numpy scalar of an unknown kind');
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const readers: ReadonlyMap<string, [number, () => PyValue]> = new Map<string, [number, () => PyValue]>([
    ['f8', [8, () => new PyFloat(view.getFloat64(0, true))]],
    ['f4', [4, () => new PyFloat(view.getFloat32(0, true))]],
    ['i8', [8, () => Number(view.getBigInt64(0, true))]],
    ['i4', [4, () => view.getInt32(0, true)]],
    ['i2', [2, () => view.getInt16(0, true)]],
    ['i1', [1, () => view.getInt8(0)]],
    ['u8', [8, () => Number(view.getBigUint64(0, true))]],
    ['u4', [4, () => view.getUint32(0, true)]],
    ['u1', [1, () => view.getUint8(0)]],
    ['b1', [1, () => view.getUint8(0) !== 0]],
  ]);
  const reader = readers.get(code);
  if (reader?.[0] !== data.length) return fail(where, `pickle: numpy scalar of dtype ${quote(code)}`);
  return reader[1]();
}
