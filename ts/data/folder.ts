// Folders of images: one folder per class (torchvision's ImageFolder), or all in one.
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { DatasetError } from '../core/errors.js';
import { FileDataset, ignoredReason, isImageName } from './dataset.js';
import { known, readClasses, resolveLabels } from './labels.js';

interface Entries {
  folders: string[];
  files: string[];
}

const MAX_DEPTH = 32;
/** Files that describe a dataset and are no samples of it. */
const DESCRIBING = /^(classes\.(txt|json)|readme(\..*)?|licen[cs]e(\..*)?)$/i;

/** Names of a folder, sorted; hidden ones are left out, links followed. */
export async function entriesOf(folder: string): Promise<Entries> {
  const out: Entries = { folders: [], files: [] };
  const found = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    throw new DatasetError(`${folder}: the folder cannot be read (${error.code})`, { file: folder, cause: error });
  });
  for (const entry of found) {
    if (entry.name.startsWith('.')) continue;
    const isFolder = entry.isSymbolicLink()
      ? await stat(join(folder, entry.name)).then(
          (s) => s.isDirectory(),
          () => false,
        )
      : entry.isDirectory();
    (isFolder ? out.folders : out.files).push(entry.name);
  }
  out.folders.sort();
  out.files.sort();
  return out;
}

/** Image files of a folder and its subfolders, sorted within each; what is left out goes to `ignored`. */
async function imagesBelow(folder: string, ignored: Map<string, string>, depth = 0): Promise<string[]> {
  if (depth > MAX_DEPTH)
    throw new DatasetError(`${folder}: more than ${MAX_DEPTH} folders deep; a link may lead to itself`, { file: folder });
  const { folders, files } = await entriesOf(folder);
  const out = take(folder, files, ignored);
  for (const name of folders) for (const file of await imagesBelow(join(folder, name), ignored, depth + 1)) out.push(file);
  return out;
}

function take(folder: string, files: readonly string[], ignored: Map<string, string>): string[] {
  const out: string[] = [];
  for (const name of files) {
    const file = join(folder, name);
    if (isImageName(name)) out.push(file);
    else if (!DESCRIBING.test(name)) ignored.set(file, ignoredReason(name));
  }
  return out;
}

/**
 * `folder/<class>/...`, class numbers by sorted folder names or by `classes`; a folder without class folders is one class. The order is
 * that of the classes, then of the file names. Throws DatasetError where there is no image at all, or a folder is none of `classes`.
 */
export async function openFolder(folder: string, path: string, given?: readonly string[]): Promise<FileDataset> {
  const ignored = new Map<string, string>();
  const { folders, files } = await entriesOf(folder);
  const classes = given ?? (await readClasses(folder)) ?? (folder === path ? undefined : await readClasses(path));
  const perFolder: string[][] = [];
  for (const name of folders) perFolder.push(await imagesBelow(join(folder, name), ignored));
  if (perFolder.every((images) => images.length === 0)) return flat(folder, path, take(folder, files, ignored), classes, ignored);
  for (const name of files)
    if (!DESCRIBING.test(name)) ignored.set(join(folder, name), isImageName(name) ? 'lies beside the class folders' : ignoredReason(name));
  const order = folders.map((name, i) => ({
    label: classes ? known(name, classes, join(folder, name), folder) : i,
    images: perFolder[i]!,
  }));
  order.sort((a, b) => a.label - b.label);
  const labels = Int32Array.from(order.flatMap(({ label, images }) => images.map(() => label)));
  return new FileDataset(
    'folder',
    path,
    order.flatMap((o) => o.images),
    classes ?? folders,
    labels,
    ignored,
  );
}

function flat(
  folder: string,
  path: string,
  files: string[],
  classes: readonly string[] | undefined,
  ignored: Map<string, string>,
): FileDataset {
  if (files.length === 0) {
    const first = [...ignored].slice(0, 3).map(([file, why]) => `${relative(folder, file)}: ${why}`);
    throw new DatasetError(`${folder}: there is no image in it${first.length > 0 ? ` (${first.join('; ')})` : ''}`, { file: folder });
  }
  const raw = files.map((file) => ({ value: undefined, at: file }));
  const labelled = resolveLabels(raw, folder, classes);
  return new FileDataset('flat', path, files, labelled.classes, labelled.labels, ignored);
}
