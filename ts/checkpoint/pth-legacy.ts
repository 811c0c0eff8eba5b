// The container of torch.save before 1.6: five pickles (magic number, protocol, system, object, storage keys), then for each key
// an int64 count and the bytes.
import { fail, quote } from './fail.js';
import type { SourceFile } from './file.js';
import { LIMITS } from './limits.js';
import { PickleEnd } from './pickle-reader.js';
import { parseStorageId, type StorageId, storageItemSize } from './storage-id.js';
import { unpickle } from './unpickle.js';
import { PyStorage, type PyValue } from './value.js';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const FIRST_READ = 256 * 1024;

interface Storages {
  /** Storages of the file by key. */
  roots: Map<string, PyStorage>;
  /** Parts of storages, to be placed once the roots are. */
  views: { part: PyStorage; root: string; offset: number }[];
}

interface Head {
  value: PyValue;
  keys: PyValue;
  storages: Storages;
  /** Offset of the first storage. */
  end: number;
}

/** True when the bytes begin like a pickle of protocol 2 or later. */
export function looksLikePickle(head: Uint8Array): boolean {
  return head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5;
}

/** Reads the structure; tensor bytes stay in the file. */
export async function readPthLegacy(file: SourceFile): Promise<PyValue> {
  const head = await readHead(file);
  await placeStorages(file, head);
  return head.value;
}

/** Pickles do not say how long they are: parse a prefix of the file, and a longer one when it ends too early. */
async function readHead(file: SourceFile): Promise<Head> {
  for (let bytes = Math.min(FIRST_READ, file.size); ; bytes = Math.min(4 * bytes, file.size)) {
    try {
      return parseHead(await file.read(0, bytes), file.path);
    } catch (error) {
      if (!(error instanceof PickleEnd)) throw error;
      if (bytes === file.size) fail({ file: file.path, offset: bytes }, 'the pickle ends early: the file is truncated or not a checkpoint');
      if (bytes >= LIMITS.pickleBytes) fail({ file: file.path }, `pickles of more than ${LIMITS.pickleBytes} bytes`);
    }
  }
}

function parseHead(data: Uint8Array, file: string): Head {
  let at = 0;
  const storages: Storages = { roots: new Map(), views: [] };
  const next = (persistentLoad?: (id: PyValue, offset: number) => PyValue): PyValue => {
    const { value, bytes } = unpickle(data.subarray(at), { file, base: at, persistentLoad });
    at += bytes;
    return value;
  };
  const magic = next();
  if (magic !== MAGIC) fail({ file, offset: 0 }, 'a pickle, but not a file of torch.save (its magic number is missing)');
  const protocol = next();
  if (protocol !== PROTOCOL)
    fail({ file }, `torch.save protocol ${protocol instanceof Object ? '?' : String(protocol)}, only ${PROTOCOL} is read`);
  const system = next();
  if (!(system instanceof Map)) fail({ file }, 'the description of the writing system is missing');
  if ((system as Map<PyValue, PyValue>).get('little_endian') !== true)
    fail({ file }, 'written on a big-endian machine; only little-endian files are read');
  const value = next((id, offset) => registerStorage(parseStorageId(id, { file, offset }), storages, file, offset));
  const keys = next();
  return { value, keys, storages, end: at };
}

function registerStorage({ storage, view }: StorageId, { roots, views }: Storages, file: string, offset: number): PyStorage {
  const known = roots.get(storage.key);
  if (known && (known.dtype !== storage.dtype || known.elements !== storage.elements)) {
    fail({ file, offset }, `storage ${quote(storage.key)} is described in two ways`);
  }
  const root = known ?? storage;
  roots.set(storage.key, root);
  if (!view) return root;
  if (view.offset + view.elements > root.elements) fail({ file, offset }, `view beyond storage ${quote(storage.key)}`);
  const part = new PyStorage(view.key, root.dtype, view.elements);
  views.push({ part, root: root.key, offset: view.offset });
  return part;
}

async function placeStorages(file: SourceFile, { keys, storages, end }: Head): Promise<void> {
  const { roots, views } = storages;
  if (!Array.isArray(keys)) return fail({ file: file.path, offset: end }, 'the list of storages is missing');
  let at = end;
  const placed = new Set<string>();
  for (const key of keys) {
    const storage = typeof key === 'string' ? roots.get(key) : undefined;
    if (!storage)
      return fail(
        { file: file.path, offset: at },
        `the list of storages names ${typeof key === 'string' ? quote(key) : 'something'} that no tensor uses`,
      );
    const where = { file: file.path, key: storage.key, offset: at };
    if (placed.has(storage.key)) fail(where, 'the list of storages names this one twice');
    if (at + 8 > file.size) fail(where, 'the file is truncated before this storage');
    const count = new DataView((await file.read(at, 8)).buffer).getBigInt64(0, true);
    if (count !== BigInt(storage.elements)) fail(where, `storage of ${count} elements, the object says ${storage.elements}`);
    const bytes = storage.elements * storageItemSize(storage);
    if (!(at + 8 + bytes <= file.size))
      fail(where, `the file is truncated: this storage needs ${bytes} bytes, ${file.size - at - 8} are left`);
    storage.region = { offset: at + 8, byteLength: bytes };
    placed.add(storage.key);
    at += 8 + bytes;
  }
  for (const key of roots.keys())
    if (!placed.has(key)) fail({ file: file.path, key }, 'a tensor uses a storage that the file does not hold');
  if (at !== file.size) fail({ file: file.path, offset: at }, `${file.size - at} bytes after the last storage`);
  for (const { part, root, offset } of views) {
    const size = storageItemSize(part);
    part.region = { offset: roots.get(root)!.region!.offset + offset * size, byteLength: part.elements * size };
  }
}
