import { AppendFile } from './append-file.js';

const FLUSH_BYTES = 1 << 16;

/** A text file that grows; a resumed run cuts it back to where its checkpoint was taken, so that nothing stands there twice. */
export class LogFile {
  private constructor(private readonly file: AppendFile) {}

  /** Opens for appending, behind the first `keep` bytes of what is there; all of it by default. */
  static async open(path: string, keep?: number): Promise<LogFile> {
    return new LogFile(await AppendFile.open(path, FLUSH_BYTES, keep === undefined ? {} : { keep }));
  }

  get empty(): boolean {
    return this.file.empty;
  }

  append(text: string): void {
    this.file.append(Buffer.from(text));
  }

  /** Bytes of the file once everything is with the system. */
  async flush(): Promise<number> {
    return await this.file.flush();
  }

  async truncate(bytes: number): Promise<void> {
    await this.file.truncate(bytes);
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
