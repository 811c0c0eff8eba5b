import { symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DatasetError, ImageError } from '../../../ts/core/errors.js';
import { findSplits, holdOut, type ImageDataset, openDataset } from '../../../ts/data/index.js';
import { parseTable } from '../../../ts/data/list.js';
import { temporaryFolder } from '../checkpoint/temporary.js';
import { png, put, rejection } from './pictures.js';

const test = suite('datasets');
const root = temporaryFolder();
let image: Buffer;

test.before(async () => {
  image = await png(4, 4);
});

let folders = 0;
function folder(files: Readonly<Record<string, Uint8Array | string>>): string {
  const path = join(root, `set${folders++}`);
  for (const [name, data] of Object.entries(files)) put(path, name, data);
  return path;
}

const names = (d: ImageDataset): string[] => Array.from({ length: d.length }, (_, i) => d.name(i));
const refused = async (path: string, pattern: RegExp, options = {}): Promise<void> => {
  const error = await rejection(openDataset(path, options));
  assert.instance(error, DatasetError);
  assert.match(error.message, pattern);
};

test('train/<class> and val/<class>: classes by sorted folder names, files sorted, nested ones too', async () => {
  const path = folder({
    'train/cat/b.png': image,
    'train/cat/a.jpg': image,
    'train/ant/deep/z.webp': image,
    'train/Dog/x.PNG': image,
    'train/cat/.hidden.png': image,
    'train/cat/notes.txt': 'hi',
    'train/cat/old.bmp': image,
    'val/cat/v.png': image,
  });
  const train = await openDataset(path);
  assert.is(train.layout, 'folder');
  assert.equal([...train.classes], ['Dog', 'ant', 'cat']);
  assert.equal(
    names(train).map((n) => n.slice(path.length + 7)),
    ['Dog/x.PNG', 'ant/deep/z.webp', 'cat/a.jpg', 'cat/b.png'],
  );
  assert.equal([...train.labels], [0, 1, 2, 2]);
  assert.equal(
    [...train.ignored].map(([name, why]) => [basename(name), why]),
    [
      ['notes.txt', 'not an image by its extension'],
      ['old.bmp', '.bmp images are not supported'],
    ],
  );
  assert.equal(Buffer.from(await train.read(3)), image);
  const val = await openDataset(path, { split: 'val', classes: train.classes });
  assert.equal([val.length, val.numClasses, ...val.labels], [1, 3, 2]);
  await refused(path, /train\/Dog: class "Dog" is none of the 1 classes/, { classes: ['cat'] });
  assert.equal(await findSplits(path), { train: join(path, 'train'), val: join(path, 'val') });
});

test('a folder of class folders, and one of images alone', async () => {
  const path = folder({ 'b/1.png': image, 'a/1.png': image, 'top.png': image });
  const divided = await openDataset(path);
  assert.equal([divided.layout, divided.length, ...divided.classes], ['folder', 2, 'a', 'b']);
  assert.equal([...divided.ignored.values()], ['lies beside the class folders']);
  const flat = await openDataset(folder({ 'b.png': image, 'a.jpg': image, 'README.md': 'x' }));
  assert.equal([flat.layout, flat.length, flat.numClasses, ...flat.labels], ['flat', 2, 1, 0, 0]);
  assert.is(flat.ignored.size, 0);
  await refused(path, /no part 'val'/, { split: 'val' });
  await refused(folder({ 'a.bmp': 'x' }), /no image in it \(a\.bmp: \.bmp images are not supported\)/);
  await refused(join(root, 'nothing'), /no such file or folder/);
});

test('an empty class keeps its number; classes.txt gives another order', async () => {
  const path = folder({ 'train/a/notes.md': 'x', 'train/b/1.png': image, 'train/c/1.png': image });
  assert.equal([...(await openDataset(path)).labels], [1, 2]);
  put(path, 'classes.txt', 'c\nb\na\nd\n');
  const d = await openDataset(path);
  assert.equal([...d.classes], ['c', 'b', 'a', 'd']);
  assert.equal([...d.labels], [0, 1]);
  assert.match(names(d)[0]!, /c\/1\.png$/, 'images stand in the order of the classes');
  put(path, 'classes.txt', 'c\nc\n');
  await refused(path, /class 1 is "c": expected a name that no other class has/);
});

test('a link to itself ends in an error, not in a loop', async () => {
  const path = folder({ 'a/1.png': image });
  symlinkSync(path, join(path, 'a', 'again'));
  await refused(path, /folders deep|cannot be read/);
});

test('CSV: header or not, quotes, names and numbers', async () => {
  const path = folder({ 'x/1.png': image, 'x/a, "b".png': image, '2.png': image });
  const list = put(path, 'list.csv', 'label,path\r\nred,x/1.png\r\n"blue","x/a, ""b"".png"\r\n\r\nred,2.png\r\n');
  const d = await openDataset(list);
  assert.equal([d.layout, ...d.classes], ['list', 'blue', 'red']);
  assert.equal([...d.labels], [1, 0, 1]);
  for (let i = 0; i < 3; i++) assert.equal(Buffer.from(await d.read(i)), image);
  const numbers = await openDataset(put(path, 'n.csv', 'x/1.png,0\n2.png,3\n'));
  assert.equal([numbers.numClasses, ...numbers.classes, ...numbers.labels], [4, '0', '1', '2', '3', 0, 3]);
  const named = await openDataset(put(path, 'n.tsv', 'x/1.png\t1\n2.png\tred\n'), { classes: ['red', 'blue'] });
  assert.equal([...named.labels], [1, 0]);
  const bare = await openDataset(put(path, 'bare.csv', 'x/1.png\n2.png\n'));
  assert.equal([bare.numClasses, bare.length], [1, 2]);
});

test('JSON lines, and train.jsonl with val.jsonl in a folder', async () => {
  const path = folder({
    '1.png': image,
    'train.jsonl': '{"file_name": "1.png", "label": "b"}\n\n{"path": "gone.png", "class": "a"}\n',
    'val.jsonl': '{"image": "1.png", "label": 1}\n',
  });
  const d = await openDataset(path);
  assert.equal([...d.labels], [1, 0]);
  const error = await rejection(d.read(1));
  assert.instance(error, ImageError);
  assert.match(error.message, /gone\.png: no such file/);
  assert.equal([...(await openDataset(path, { split: 'val', classes: d.classes })).labels], [1]);
});

test('mistakes in lists name file and line', async () => {
  const path = folder({ '1.png': image });
  for (const [name, text, pattern] of [
    ['a.csv', '1.png,a\n1.png,\n', /a\.csv, line 2: there is no label/],
    ['b.csv', 'path,label\n1.png,x\n,y\n', /b\.csv, line 3: no file name/],
    ['c.csv', '1.png,"a\n', /c\.csv, line 1: /],
    ['d.csv', 'https://example.org/1.png,a\n', /d\.csv, line 1: .* is an address/],
    ['e.jsonl', '{"path": "1.png"\n', /e\.jsonl, line 1: not valid JSON/],
    ['f.jsonl', '{"label": 1}\n', /f\.jsonl, line 1: no file name/],
    ['g.jsonl', '{"path": "1.png", "label": 1.5}\n', /g\.jsonl, line 1: label 1\.5/],
    ['h.csv', '', /the list is empty/],
    ['i.csv', '1.png,999999999\n', /class number 999999999/],
  ] as const)
    await refused(put(path, name, text), pattern);
  await refused(put(path, 'j.csv', '1.png,zebra\n'), /line 1: class "zebra" is none of the 2 classes/, { classes: ['a', 'b'] });
});

test('tables keep line numbers over quoted line breaks', () => {
  assert.equal(parseTable('a,"b\nc"\nd,e', ',', 'f'), [
    { cells: ['a', 'b\nc'], line: 1 },
    { cells: ['d', 'e'], line: 3 },
  ]);
  assert.throws(
    () => parseTable('"a"b,c', ',', 'f'),
    (e: unknown) => e instanceof DatasetError,
  );
});

test('a part kept back for validation: seeded, disjoint, whole', async () => {
  const path = folder(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`${'ab'[i % 2]}/${i}.png`, image])));
  const whole = await openDataset(path);
  const { train, val } = holdOut(whole, 0.3, 7);
  assert.equal([train.length, val.length, train.numClasses], [7, 3, 2]);
  assert.equal([...names(train), ...names(val)].sort(), names(whole).sort());
  for (let i = 0; i < 3; i++) assert.is(val.labels[i], val.name(i).includes('/a/') ? 0 : 1);
  assert.equal(Buffer.from(await val.read(2)), image);
  assert.equal(names(holdOut(whole, 0.3, 7).val), names(val));
  assert.not.equal(names(holdOut(whole, 0.3, 9).val), names(val));
});

test.run();
