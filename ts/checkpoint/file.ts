// Random access to a checkpoint file. A file is opened for each operation, so that nothing leaks when nobody closes a Checkpoint;
// size and modification time must stay as they were when it was first opened.
import { closeSync, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CheckpointError } from '../core/errors.js';
import { checkpointError, fail } from './fail.js';

const CHUNK = 64 * 2 ** 20;

function systemError(path: string, error: unknown): CheckpointError {
  if (error instanceof CheckpointError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const text = error instanceof Error ? error.message : String(error);
  if (code === 'ENOENT') return checkpointError({ file: path }, 'no such file', error);
  if (code === 'EACCES' || code === 'EPERM') return checkpointError({ file: path }, 'no permission to read it', error);
  return checkpointError({ file: path }, text, error);
}

export class SourceFile {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly mtimeMs: number,
    private readonly ino: number,
    private handle: FileHandle | undefined,
  ) {}

  /** Opens a regular file; `done` closes the handle that parsing uses, later reads open it again. */
  static async open(path: string): Promise<SourceFile> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'r');
      const stat = await handle.stat();
      if (!stat.isFile()) fail({ file: path }, stat.isDirectory() ? 'is a folder, not a file' : 'is not a regular file');
      return new SourceFile(path, stat.size, stat.mtimeMs, stat.ino, handle);
    } catch (error) {
      await handle?.close();
      throw systemError(path, error);
    }
  }

  async done(): Promise<void> {
    const handle = this.handle;
    this.handle = undefined;
    await handle?.close();
  }

  /** Bytes [offset, offset + length); a range beyond the file is an error before anything is allocated. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    this.checkRange(offset, length);
    let own: FileHandle | undefined;
    try {
      const out = new Uint8Array(length);
      if (!this.handle) {
        own = await open(this.path, 'r');
        this.checkSame(await own.stat());
      }
      const handle = (own ?? this.handle)!;
      for (let at = 0; at < length; ) {
        const { bytesRead } = await handle.read(out, at, Math.min(CHUNK, length - at), offset + at);
        if (bytesRead === 0) fail({ file: this.path, offset: offset + at }, 'the file ends here; it changed while being read');
        at += bytesRead;
      }
      return out;
    } catch (error) {
      throw systemError(this.path, error);
    } finally {
      await own?.close();
    }
  }

  /** Like read, in chunks and without waiting; for tables small enough to convert in JavaScript. */
  readSync(offset: number, length: number): Uint8Array {
    this.checkRange(offset, length);
    let fd: number | undefined;
    try {
      const out = new Uint8Array(length);
      fd = openSync(this.path, 'r');
      this.checkSame(fstatSync(fd));
      for (let at = 0; at < length; ) {
        const n = readSync(fd, out, at, Math.min(CHUNK, length - at), offset + at);
        if (n === 0) fail({ file: this.path, offset: offset + at }, 'the file ends here; it changed while being read');
        at += n;
      }
      return out;
    } catch (error) {
      throw systemError(this.path, error);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** Throws when the file is no longer the one that was opened. */
  verify(): void {
    try {
      this.checkSame(statSync(this.path));
    } catch (error) {
      throw systemError(this.path, error);
    }
  }

  private checkRange(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset + length > this.size) {
      fail({ file: this.path, offset }, `${length} bytes wanted, the file has ${this.size}`);
    }
  }

  private checkSame(stat: Stats): void {
    if (stat.size !== this.size || stat.mtimeMs !== this.mtimeMs || stat.ino !== this.ino) {
      fail({ file: this.path }, 'the file was changed or replaced after it was opened; open it again');
    }
  }
}
