// The zip container of torch.save (since 1.6): ROOT/data.pkl, ROOT/data/KEY (bytes of a storage), ROOT/version, ROOT/byteorder.
import { fail, quote } from './fail.js';
import type { SourceFile } from './file.js';
import { LIMITS } from './limits.js';
import { PickleEnd } from './pickle-reader.js';
import { parseStorageId, storageItemSize } from './storage-id.js';
import { unpickle } from './unpickle.js';
import type { PyStorage, PyValue, Region } from './value.js';
import { inflateRegion, readZipDirectory } from './zip.js';

/** Reads the structure; tensor bytes stay in the file. */
export async function readPthZip(file: SourceFile): Promise<PyValue> {
  const records = await readZipDirectory(file);
  const root = archiveRoot(records, file.path);
  await checkByteOrder(file, records.get(`${root}/byteorder`));
  const region = records.get(`${root}/data.pkl`)!;
  if (region.byteLength > LIMITS.pickleBytes)
    fail({ file: file.path, key: 'data.pkl' }, `${region.byteLength} bytes, at most ${LIMITS.pickleBytes} are read`);
  const data = await readRegion(file, region, 'data.pkl');
  const load = storageLoader(file.path, `${root}/data/`, records);
  try {
    return unpickle(data, { file: file.path, base: region.deflated === undefined ? region.offset : 0, persistentLoad: load }).value;
  } catch (error) {
    if (error instanceof PickleEnd)
      fail({ file: file.path, key: 'data.pkl', offset: region.offset + region.byteLength }, 'the pickle ends early');
    throw error;
  }
}

async function readRegion(file: SourceFile, region: Region, key: string): Promise<Uint8Array> {
  return inflateRegion(await file.read(region.offset, region.deflated ?? region.byteLength), region, file.path, key);
}

function archiveRoot(records: ReadonlyMap<string, Region>, file: string): string {
  const pickles = [...records.keys()].filter((name) => name.endsWith('/data.pkl') || name === 'data.pkl');
  if (pickles.length === 0) {
    const hint = [...records.keys()].some((name) => name.endsWith('/constants.pkl')) ? ' (a TorchScript archive? save its state_dict)' : '';
    fail({ file }, `a zip archive, but not one of torch.save: no data.pkl in it${hint}`);
  }
  const roots = new Set([...records.keys()].map((name) => name.slice(0, name.indexOf('/') + 1)));
  if (pickles.length > 1 || roots.size > 1 || pickles[0] === 'data.pkl')
    fail({ file }, 'the records of the archive do not lie in one folder');
  return pickles[0]!.slice(0, -'/data.pkl'.length);
}

async function checkByteOrder(file: SourceFile, region: Region | undefined): Promise<void> {
  if (!region) return;
  if (region.byteLength > 16) fail({ file: file.path, key: 'byteorder' }, 'unknown byte order');
  const order = new TextDecoder().decode(await readRegion(file, region, 'byteorder'));
  if (order !== 'little') fail({ file: file.path, key: 'byteorder' }, `byte order ${quote(order)}; only little-endian files are read`);
}

function storageLoader(file: string, prefix: string, records: ReadonlyMap<string, Region>): (id: PyValue, offset: number) => PyStorage {
  const storages = new Map<string, PyStorage>();
  return (id, offset) => {
    const { storage, view } = parseStorageId(id, { file, offset });
    if (view) fail({ file, offset }, 'view of a storage in a zip archive');
    const known = storages.get(storage.key);
    if (known && known.dtype === storage.dtype && known.elements === storage.elements) return known;
    const region = records.get(prefix + storage.key);
    const where = { file, key: `data/${storage.key}`, offset };
    if (!region) return fail(where, 'the archive has no record for this storage');
    const needed = storage.elements * storageItemSize(storage);
    if (!(needed <= region.byteLength))
      fail(where, `storage of ${storage.elements} elements needs ${needed} bytes, its record has ${region.byteLength}`);
    storage.region = region;
    storages.set(storage.key, storage);
    return storage;
  };
}
