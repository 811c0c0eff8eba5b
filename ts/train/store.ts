// Checkpoint files of a run folder: `last`, older ones by iteration, and `best`, a copy.
import { constants } from 'node:fs';
import { copyFile, link, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { verifyPth, type Writable, writePth } from '../checkpoint/index.js';

export class CheckpointStore {
  readonly last: string;
  readonly best: string;
  private readonly numbered: RegExp;
  /** Iterations done at `last`, where known. */
  private lastGIt: number | undefined;

  constructor(
    readonly folder: string,
    /** ar or vae, as the reference names its files. */
    readonly prefix: string,
    /** Older checkpoints that stay beside `last`. */
    readonly keep: number,
  ) {
    this.last = join(folder, `${prefix}-ckpt-last.pth`);
    this.best = join(folder, `${prefix}-ckpt-best.pth`);
    this.numbered = new RegExp(`^${prefix}-ckpt-(\\d{8,})\\.pth$`);
  }

  numberedPath(gIt: number): string {
    return join(this.folder, `${this.prefix}-ckpt-${String(gIt).padStart(8, '0')}.pth`);
  }

  /** Files that a run can be resumed from, newest first. */
  async candidates(): Promise<string[]> {
    const older = await this.older();
    const names = older.map((gIt) => this.numberedPath(gIt));
    return (await exists(this.last)) ? [this.last, ...names] : names;
  }

  /** What the run was resumed from, so that its file gets the right number when it is replaced. */
  resumedFrom(path: string, gIt: number): void {
    if (path === this.last) this.lastGIt = gIt;
  }

  /** Writes `last` whole; what it was before stays under its number. Returns the bytes of the file. */
  async save(value: Writable, gIt: number): Promise<number> {
    if (this.keep > 0 && this.lastGIt !== undefined && this.lastGIt !== gIt) await this.keepLast(this.lastGIt);
    await writePth(this.last, value);
    this.lastGIt = gIt;
    await this.prune();
    return (await stat(this.last)).size;
  }

  /** Copies `last` over `best`, whole or not at all; shares blocks where the file system can. */
  async copyBest(): Promise<void> {
    const temporary = join(this.folder, `.${this.prefix}-ckpt-best.pth.${process.pid}.tmp`);
    try {
      await copyFile(this.last, temporary, constants.COPYFILE_FICLONE);
      const handle = await open(temporary, 'r+');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, this.best);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
  }

  /** Removes half-written files that a killed process left. */
  async sweep(): Promise<void> {
    const stale = (await readdir(this.folder)).filter((name) => name.startsWith('.') && /-ckpt-\w+\.pth\..*tmp$/.test(name));
    await Promise.all(stale.map((name) => unlink(join(this.folder, name)).catch(() => undefined)));
  }

  /** Whole to the last byte; throws CheckpointError. */
  async verify(path: string): Promise<void> {
    await verifyPth(path);
  }

  private async older(): Promise<number[]> {
    const names = await readdir(this.folder);
    const numbers = names.map((name) => this.numbered.exec(name)?.[1]).filter((digits) => digits !== undefined);
    return numbers.map(Number).sort((a, b) => b - a);
  }

  private async keepLast(gIt: number): Promise<void> {
    if (!(await exists(this.last))) return;
    const path = this.numberedPath(gIt);
    // what stands there is of a history that a rewind has left
    await unlink(path).catch(() => undefined);
    await link(this.last, path).catch(() => copyFile(this.last, path, constants.COPYFILE_FICLONE));
  }

  private async prune(): Promise<void> {
    // numbers from here on are of a history that was left
    for (const gIt of await this.older()) if (gIt >= this.lastGIt!) await unlink(this.numberedPath(gIt)).catch(() => undefined);
    for (const gIt of (await this.older()).slice(this.keep)) await unlink(this.numberedPath(gIt)).catch(() => undefined);
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
