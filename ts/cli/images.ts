// PNG files, written whole or not at all.
import { mkdir, readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { writeWhole } from '../checkpoint/index.js';
import { ArgumentError } from '../core/errors.js';
import { decodeImage, encodePng, type RawImage, resizeCrop } from '../data/index.js';
import type { Engine } from '../engine/index.js';

/** Writes an RGB picture as PNG and returns the path. */
export async function writePng(path: string, picture: RawImage, signal?: AbortSignal): Promise<string> {
  await writeWhole(path, await encodePng(picture.data, picture.width, picture.height), { signal });
  return path;
}

/** Reads an image file as the reference's validation does: Lanczos to 1.125 times the side, then the centre crop. */
export async function loadPicture(engine: Engine, path: string, side: number): Promise<RawImage> {
  const image = await decodeImage(path);
  const tensor = resizeCrop(engine, image, { finalReso: side });
  try {
    return { width: side, height: side, data: (await tensor.read()) as Uint8Array };
  } finally {
    tensor.dispose();
  }
}

/** Makes a folder; a path that is a file is an argument error. */
export async function ensureFolder(option: string, path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (e) {
    throw new ArgumentError(
      `${option}: cannot make the folder '${path}' (${(e as NodeJS.ErrnoException).code}), accepted: a folder that exists or can be made`,
    );
  }
}

/** Where results go: FILE.png names the main picture and its folder the rest, anything else is a folder. */
export async function outputPaths(out: string, main: string): Promise<{ file: string; folder: string; stem: string }> {
  const isFile = extname(out).toLowerCase() === '.png';
  const folder = isFile ? dirname(out) : out;
  await ensureFolder('--out', folder);
  const file = isFile ? out : join(out, `${main}.png`);
  return { file, folder, stem: join(folder, basename(file, extname(file))) };
}

const IMAGE = /\.(png|jpe?g|webp|gif|tiff?|heic|heif|avif)$/i;

/** Files as they are, folders as the image files in them, in the order of their names. */
export async function imageFiles(paths: readonly string[]): Promise<string[]> {
  const out: string[] = [];
  for (const path of paths) {
    const s = await stat(path).catch((e: NodeJS.ErrnoException) => {
      throw new ArgumentError(`IMAGES: cannot read '${path}' (${e.code}), accepted: image files or folders of them`);
    });
    if (!s.isDirectory()) out.push(path);
    else
      out.push(
        ...(await readdir(path))
          .filter((f) => IMAGE.test(f))
          .sort()
          .map((f) => join(path, f)),
      );
  }
  if (out.length === 0)
    throw new ArgumentError(
      `IMAGES: no image in ${paths.map((p) => `'${p}'`).join(', ') || 'an empty list'}, accepted: image files or folders of them`,
    );
  return out;
}

/** Names of output files for input files: the base name, numbered where two are the same. */
export function uniqueNames(files: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return files.map((file) => {
    const name = basename(file, extname(file));
    const n = seen.get(name) ?? 0;
    seen.set(name, n + 1);
    return n === 0 ? name : `${name}-${n + 1}`;
  });
}
