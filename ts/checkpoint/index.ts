export { AtomicFile, type AtomicOptions, writeFileAtomic, writeWhole } from '../core/atomic.js';
export { Checkpoint, type CheckpointFormat, type OpenOptions, openCheckpoint, type TensorInfo, type TensorLocation } from './checkpoint.js';
export { FILE_DTYPES, type FileDType, fileDType } from './dtype.js';
export { groupKeys } from './group-keys.js';
export type { Writable } from './pickle.js';
export type { ByteSource, ReadableTensor, TensorSource } from './source.js';
export { FileTensor, OrderedDict, PyFloat, PyName, PyObject, PyTuple, type PyValue } from './value.js';
export { writePth } from './write-pth.js';
export { writeSafetensors } from './write-safetensors.js';
