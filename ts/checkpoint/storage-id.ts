// Persistent ids of torch: ('storage', class, key, location, elements[, view]).
import { fileDType } from './dtype.js';
import { fail, quote, type Where } from './fail.js';
import { storageDType } from './globals.js';
import { isCount } from './shape.js';
import { PyName, PyStorage, PyTuple, type PyValue } from './value.js';

export interface StorageId {
  storage: PyStorage;
  /** Legacy files only: the storage is a part of another one. */
  view: { key: string; offset: number; elements: number } | undefined;
}

/** Checks a persistent id and returns a storage without a region. */
export function parseStorageId(id: PyValue, where: Where): StorageId {
  const items = id instanceof PyTuple ? id.items : [];
  const [tag, type, key, location, elements, view] = items;
  if (tag !== 'storage' || items.length < 5 || items.length > 6) return fail(where, 'persistent id that is no storage');
  const dtype = type instanceof PyName ? storageDType(type.module, type.name) : undefined;
  if (dtype === undefined) return fail(where, `unknown storage class ${type instanceof PyName ? quote(type.toString()) : ''}`);
  if (typeof key !== 'string' || typeof location !== 'string') return fail(where, 'storage without a key');
  if (!isCount(elements)) return fail(where, `storage ${quote(key)} has a bad number of elements`);
  return { storage: new PyStorage(key, dtype, elements), view: parseView(view, where) };
}

function parseView(view: PyValue | undefined, where: Where): StorageId['view'] {
  if (view === undefined || view === null) return undefined;
  const [key, offset, elements] = view instanceof PyTuple ? view.items : [];
  if (typeof key !== 'string' || !isCount(offset) || !isCount(elements)) return fail(where, 'bad view of a storage');
  return { key, offset, elements };
}

/** Bytes of one element; an untyped storage counts bytes. */
export function storageItemSize(storage: PyStorage): number {
  return storage.dtype === 'untyped' ? 1 : fileDType(storage.dtype).size;
}
