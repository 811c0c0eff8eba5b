// Files are written whole or not at all: temporary name in the same folder, fsync, rename, fsync of the folder.
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { throwIfAborted } from './check.js';
import { ArgumentError } from './errors.js';

const CHUNK = 32 * 2 ** 20;

export interface AtomicOptions {
  /** Checked before every write; an aborted write leaves no trace. */
  signal?: AbortSignal;
  /** Creates the folder when it is missing. */
  mkdirs?: boolean;
}

/** The file being written. Nothing of it is visible under its final name before everything is on the disk. */
export class AtomicFile {
  /** @internal */
  constructor(
    private readonly handle: FileHandle,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Bytes appended so far. */
  position = 0;

  async append(bytes: Uint8Array): Promise<void> {
    await this.writeAt(bytes, this.position);
    this.position += bytes.length;
  }

  /** Writes at an offset without moving the end. */
  async writeAt(bytes: Uint8Array, offset: number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      throwIfAborted(this.signal);
      const { bytesWritten } = await this.handle.write(bytes, at, Math.min(CHUNK, bytes.length - at), offset + at);
      at += bytesWritten;
    }
  }
}

/**
 * Calls `write` with a new file and puts it under `path` when that succeeds; on any failure `path` keeps what it held. A symbolic
 * link is followed, the mode of a file that is replaced is kept. Rejects with ArgumentError where the folder does not take a file, else
 * with the system's error or that of `write`.
 */
export async function writeFileAtomic(
  path: string,
  write: (file: AtomicFile) => Promise<void>,
  options: AtomicOptions = {},
): Promise<void> {
  throwIfAborted(options.signal);
  if (options.mkdirs) await mkdir(dirname(path), { recursive: true });
  const target = await realpath(path).catch(() => path);
  const mode = await stat(target).then(
    (found) => found.mode & 0o777,
    () => 0o644,
  );
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`);
  const handle = await open(temporary, 'wx', mode).catch((error: NodeJS.ErrnoException) => {
    throw unwritable(path, error);
  });
  try {
    try {
      await write(new AtomicFile(handle, options.signal));
      throwIfAborted(options.signal);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target).catch((error: NodeJS.ErrnoException) => {
      throw unwritable(path, error);
    });
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncFolder(dirname(target));
}

const UNWRITABLE: Readonly<Record<string, (path: string) => string>> = {
  ENOENT: (path) => `there is no folder ${dirname(path)}`,
  ENOTDIR: (path) => `${dirname(path)} is no folder`,
  EISDIR: () => 'it is a folder, a file name is expected',
  EACCES: (path) => `no permission to write in ${dirname(path)}`,
  EPERM: (path) => `no permission to write in ${dirname(path)}`,
  EROFS: (path) => `${dirname(path)} is on a read-only file system`,
};

/** The error of a path that cannot be written; what the caller cannot help, as a full disk, stays the system's error. */
function unwritable(path: string, error: NodeJS.ErrnoException): Error {
  const why = UNWRITABLE[error.code ?? ''];
  return why ? new ArgumentError(`${path} cannot be written: ${why(path)}`, { cause: error }) : error;
}

/** Writes bytes or text whole. */
export async function writeWhole(path: string, data: Uint8Array | string, options: AtomicOptions = {}): Promise<void> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  await writeFileAtomic(path, (file) => file.append(bytes), options);
}

/** Makes a rename durable; folders cannot be synced on every system, which is no reason to fail. */
async function syncFolder(path: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    await handle.sync();
  } catch {
    return;
  } finally {
    await handle?.close();
  }
}
