import { type FileHandle, open } from 'node:fs/promises';

const FLUSH_BYTES = 1 << 16;

/** A text file that grows; a resumed run cuts it back to where its checkpoint was taken, so that nothing stands there twice. */
export class LogFile {
  private pending: string[] = [];
  private pendingBytes = 0;
  private position: number;
  private writing: Promise<void> = Promise.resolve();
  private failed: unknown;

  private constructor(
    private readonly handle: FileHandle,
    size: number,
  ) {
    this.position = size;
  }

  /** Opens for appending, behind the first `keep` bytes of what is there; all of it by default. */
  static async open(path: string, keep = Number.POSITIVE_INFINITY): Promise<LogFile> {
    const handle = await open(path, 'a');
    try {
      const { size } = await handle.stat();
      if (size > keep) await handle.truncate(keep);
      return new LogFile(handle, Math.min(size, keep));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get empty(): boolean {
    return this.position + this.pendingBytes === 0;
  }

  append(text: string): void {
    this.pending.push(text);
    this.pendingBytes += Buffer.byteLength(text);
    if (this.pendingBytes >= FLUSH_BYTES) this.drain();
  }

  /** Bytes of the file once everything is with the system. */
  async flush(): Promise<number> {
    this.drain();
    await this.writing;
    if (this.failed !== undefined) throw this.failed;
    return this.position;
  }

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

  private drain(): void {
    if (this.pending.length === 0) return;
    const text = this.pending.join('');
    this.position += this.pendingBytes;
    this.pending = [];
    this.pendingBytes = 0;
    this.writing = this.writing
      .then(() => this.handle.appendFile(text))
      .catch((error: unknown) => {
        this.failed ??= error;
      });
  }
}
