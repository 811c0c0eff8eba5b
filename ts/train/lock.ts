// One process at a time writes a run folder.
import { randomBytes } from 'node:crypto';
import { link, readFile, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ArgumentError } from '../core/errors.js';

interface Holder {
  pid: number;
  host: string;
  /** When the process began, where the system tells: numbers of processes come again. */
  start: string | null;
}

/** Takes the folder; the returned function gives it back. What a dead process left is taken over. Throws ArgumentError where it is held. */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, 'run.lock');
  const own: Holder = { pid: process.pid, host: hostname(), start: await startOf(process.pid) };
  // linked under its name when its content is there
  const written = join(folder, `.run.lock.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
  await writeFile(written, JSON.stringify(own));
  for (let attempt = 0; ; attempt++) {
    try {
      await link(written, path);
      await unlink(written);
      return () => unlink(path).catch(() => undefined);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 3) {
        await unlink(written).catch(() => undefined);
        throw error;
      }
    }
    const holder = await read(path);
    if (holder && (await alive(holder, own.host))) {
      await unlink(written).catch(() => undefined);
      throw new ArgumentError(`${folder} is in use by process ${holder.pid}, which trains there: wait for it, or give another folder`);
    }
    await unlink(path).catch(() => undefined);
  }
}

async function read(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

/** Processes of another host cannot be asked; restarted containers change their names, so such a lock counts as left over. */
async function alive({ pid, host, start }: Holder, here: string): Promise<boolean> {
  if (host !== here || !Number.isInteger(pid)) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = await startOf(pid);
  return start === null || now === null || start === now;
}

/** Field 22 of /proc/PID/stat (Linux); null elsewhere. */
async function startOf(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
