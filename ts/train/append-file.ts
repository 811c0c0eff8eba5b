import { type FileHandle, open } from 'node:fs/promises';

/**
 * A file that grows at its end. `append` only collects; bytes that could not be written stay, and the file is cut back to what is whole,
 * so that the next flush can try again.
 */
export class AppendFile {
  private pending: Uint8Array[] = [];
  private bytes = 0;
  private position: number;
  private writing: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly handle: FileHandle,
    size: number,
    /** Collected bytes above which they are written without being asked for. */
    private readonly flushBytes: number,
  ) {
    this.position = size;
  }

  /** Opens for appending behind the first `keep` bytes of what is there, all of it by default; 'ax': fails where the file exists. */
  static async open(path: string, flushBytes: number, options: { keep?: number; flags?: 'a' | 'ax' } = {}): Promise<AppendFile> {
    const { keep = Number.POSITIVE_INFINITY, flags = 'a' } = options;
    const handle = await open(path, flags);
    try {
      const { size } = await handle.stat();
      if (size > keep) await handle.truncate(keep);
      return new AppendFile(handle, Math.min(size, keep), flushBytes);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get empty(): boolean {
    return this.position + this.bytes === 0;
  }

  append(data: Uint8Array): void {
    const before = this.bytes;
    this.pending.push(data);
    this.bytes += data.length;
    // once per crossing: a full disk is not asked again for every line
    if (Math.floor(before / this.flushBytes) < Math.floor(this.bytes / this.flushBytes)) this.flush().catch(() => undefined);
  }

  /** Everything collected so far is with the system; resolves to the size of the file. Rejects with the system's error. */
  flush(): Promise<number> {
    const written = this.writing.then(() => this.write());
    this.writing = written.catch(() => undefined);
    return written;
  }

  /** Cuts the file back to `bytes`. */
  async truncate(bytes: number): Promise<void> {
    await this.flush();
    if (this.position <= bytes) return;
    await this.handle.truncate(bytes);
    this.position = bytes;
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.handle.close();
    }
  }

  private async write(): Promise<number> {
    if (this.bytes === 0) return this.position;
    const data = Buffer.concat(this.pending);
    this.pending = [];
    this.bytes = 0;
    try {
      await this.handle.appendFile(data);
      this.position += data.length;
      return this.position;
    } catch (error) {
      this.pending.unshift(data);
      this.bytes += data.length;
      await this.handle.truncate(this.position).catch(() => undefined);
      throw error;
    }
  }
}
