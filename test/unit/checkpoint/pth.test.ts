import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type FileTensor,
  OrderedDict,
  openCheckpoint,
  PyFloat,
  PyTuple,
  type PyValue,
  type Writable,
  writePth,
} from '../../../ts/checkpoint/index.js';
import { numbersOf } from './numbers.js';
import { bytesOf, dictPickle, pth, tensor, text, zip } from './pickles.js';
import { refusal } from './refusal.js';
import { temporaryFolder } from './temporary.js';

const test = suite('pth');
const folder = temporaryFolder();
const six = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const f32 = (...values: number[]) => ({ dtype: 'f32' as const, shape: [values.length], data: Float32Array.from(values) });

test('views of one storage: offset, transposed, expanded', async () => {
  const views = bytesOf(
    '\x80\x02}(',
    text('all'),
    tensor('0', 6, 0, [2, 3], [3, 1]),
    text('t'),
    tensor('0', 6, 0, [3, 2], [1, 3]),
    text('tail'),
    tensor('0', 6, 4, [2], [1]),
    text('wide'),
    tensor('0', 6, 1, [2, 2], [0, 2]),
    'u.',
  );
  const checkpoint = await openCheckpoint(file('views.pth', pth(views, six)));
  assert.equal(numbersOf(await checkpoint.bytes('t'), 'f32'), [1, 4, 2, 5, 3, 6]);
  assert.equal(numbersOf(await checkpoint.bytes('tail'), 'f32'), [5, 6]);
  assert.equal(numbersOf(await checkpoint.bytes('wide'), 'f32'), [2, 4, 2, 4]);
});

test('tensors that reach beyond their storage are refused', async () => {
  for (const [offset, shape, strides] of [
    [0, [7], [1]],
    [1, [2, 3], [3, 1]],
    [6, [1], [1]],
    [0, [2, 2], [5, 1]],
  ] as const) {
    const error = await refusal(openCheckpoint(file('beyond.pth', pth(dictPickle('w', tensor('0', 6, offset, shape, strides)), six))));
    assert.match(error.message, /storage "0" has 6/);
  }
  const short = await refusal(openCheckpoint(file('short.pth', pth(dictPickle('w', tensor('0', 7, 0, [7], [1])), six))));
  assert.match(short.message, /needs 28 bytes, its record has 24/);
});

test('records that lie inside one another are refused', async () => {
  const inner = bytesOf('inner data');
  const hidden = zip({ 'archive/data/1': inner }).subarray(0, 30 + 'archive/data/1'.length + inner.length);
  const outer = Buffer.from(zip({ 'archive/data.pkl': bytesOf('\x80\x02N.'), 'archive/data/0': hidden, 'archive/data/1': inner }));
  await openCheckpoint(file('apart.pth', outer));
  const directory = outer.lastIndexOf('archive/data/1') - 46;
  outer.writeUInt32LE(outer.indexOf(hidden), directory + 42);
  assert.match((await refusal(openCheckpoint(file('inside.pth', outer)))).message, /overlaps/);
});

test('zip64 fields are read, and lies in them refused', async () => {
  const wide = Buffer.from(pth(dictPickle('w', tensor('0', 6, 0, [6], [1])), six, true));
  const checkpoint = await openCheckpoint(file('wide.pth', wide));
  assert.equal(numbersOf(await checkpoint.bytes('w'), 'f32'), [1, 2, 3, 4, 5, 6]);
  const end64 = wide.lastIndexOf('PK\x06\x06');
  const directory = wide.indexOf('PK\x01\x02');
  for (const at of [
    end64 + 32,
    end64 + 40,
    end64 + 48,
    wide.lastIndexOf('PK\x06\x07') + 8,
    directory + 46 + 'archive/data.pkl'.length + 4,
  ]) {
    for (const value of [0n, 2n ** 40n, 2n ** 63n]) {
      const lie = Buffer.from(wide);
      lie.writeBigUInt64LE(value, at);
      await refusal(openCheckpoint(file('lie64.pth', lie)));
    }
  }
});

test('a structure that refers to itself, or to one list ever so often, is bounded', async () => {
  const circle = await refusal(openCheckpoint(file('circle.pth', pth(bytesOf('\x80\x02]q\x00h\x00a.')))));
  assert.match(circle.message, /in a circle/);
  let bomb = bytesOf('\x80\x02]q\x00');
  for (let i = 0; i < 40; i++)
    bomb = bytesOf(bomb, '0](', Uint8Array.of(...new Array<number[]>(10).fill([0x68, i]).flat()), 'eq', Uint8Array.of(i + 1));
  const start = performance.now();
  assert.match((await refusal(openCheckpoint(file('bomb.pth', pth(bytesOf(bomb, '.')))))).message, /more than 2000000 values/);
  assert.ok(performance.now() - start < 5000);
});

test('a compressed record is unpacked up to its declared size, and no further', async () => {
  const good = pth(dictPickle('w', tensor('0', 6, 0, [6], [1])), six);
  const packed = deflateRawSync(six);
  const compress = (declared: number): Uint8Array => {
    const archive = Buffer.from(
      zip({
        'archive/data.pkl': dictPickle('w', tensor('0', 6, 0, [6], [1])),
        'archive/data/0': packed,
        'archive/version': bytesOf('3\n'),
      }),
    );
    const name = Buffer.from('archive/data/0');
    const local = archive.indexOf(name) - 30;
    const directory = archive.lastIndexOf(name) - 46;
    archive.writeUInt16LE(8, local + 8);
    archive.writeUInt32LE(declared, local + 22);
    archive.writeUInt16LE(8, directory + 10);
    archive.writeUInt32LE(declared, directory + 24);
    return archive;
  };
  const stored = await openCheckpoint(file('stored.pth', good));
  const deflated = await openCheckpoint(file('deflated.pth', compress(24)));
  assert.equal(await deflated.bytes('w'), await stored.bytes('w'));
  const lie = await openCheckpoint(file('lie.pth', compress(25)));
  assert.match((await refusal(lie.bytes('w'))).message, /unpacks to 24 bytes instead of 25/);
  assert.match((await refusal(openCheckpoint(file('big.pth', compress(65 * 2 ** 20))))).message, /at most 67108864 are unpacked/);
});

test('layouts: the state dict is found, its wrappers dropped, other roots named', async () => {
  const path = join(folder, 'trainer.pth');
  await writePth(path, {
    epoch: 1,
    trainer: {
      config: { a: 1 },
      var_wo_ddp: { '_orig_mod.a.w': f32(1), '_orig_mod.b': f32(2) },
      vae_local: { q: f32(3) },
      opt: { state: { 0: { exp_avg: f32(4) } } },
    },
  });
  const checkpoint = await openCheckpoint(path);
  assert.equal(
    [checkpoint.root, checkpoint.keys(), checkpoint.roots],
    ['trainer.var_wo_ddp', ['a.w', 'b'], ['trainer.var_wo_ddp', 'trainer.vae_local']],
  );
  assert.equal(checkpoint.at('trainer.vae_local').keys(), ['q']);
  assert.equal(checkpoint.sub('a').keys(), ['w']);
  assert.equal((await openCheckpoint(path, { root: ['nowhere', 'trainer.vae_local'] })).keys(), ['q']);
  assert.equal((await openCheckpoint(path, { root: ['nowhere'] })).root, 'trainer.var_wo_ddp');
  assert.ok((await openCheckpoint(path, { root: '' })).has('trainer.opt.state.0.exp_avg'));
  assert.match(
    (await refusal(openCheckpoint(path, { root: 'nowhere' }))).message,
    /no tensors below "nowhere"; the file has "trainer.var_wo_ddp", "trainer.vae_local"/,
  );
  assert.throws(() => checkpoint.info('q'), /the file also holds trainer.vae_local/);
});

test('layouts: module. is dropped only where every name has it', async () => {
  const path = join(folder, 'ddp.pth');
  await writePth(path, { 'module.a': f32(1), 'module._orig_mod.b.c': f32(2) });
  assert.equal((await openCheckpoint(path)).keys(), ['a', 'b.c'].sort());
  await writePth(path, { 'module.a': f32(1), b: f32(2) });
  assert.equal((await openCheckpoint(path)).keys(), ['module.a', 'b']);
  await writePth(path, { state_dict: { 'module.x': f32(1) }, epoch: 3 });
  assert.equal((await openCheckpoint(path)).keys(), ['x']);
  await writePth(path, { model: f32(1), state_dict: { x: f32(2) } });
  assert.equal((await openCheckpoint(path)).keys(), ['model', 'state_dict.x'], 'a dict that holds tensors itself is the state dict');
});

test('writes nested values and reads them back', async () => {
  const path = join(folder, 'nested.pth');
  const ordered = new OrderedDict<PyValue | ReturnType<typeof f32>>([['w', f32(1, 2)]]);
  ordered.attributes = new Map([['_metadata', new Map([['version', 2]])]]) as never;
  const shared = f32(7);
  const value: Writable = {
    ordered,
    floats: [1.5, new PyFloat(1), -0],
    ints: [0, -1, 255, 256, -129, 2 ** 31, 2n ** 64n, -(2n ** 63n)],
    t: new PyTuple(['a', null, true, 4, 5]),
    empty: [{}, [], new PyTuple([])],
    text: 'é',
    a: shared,
    b: shared,
  };
  await writePth(path, value as never);
  const checkpoint = await openCheckpoint(path, { root: '' });
  const structure = checkpoint.structure as Map<PyValue, PyValue>;
  assert.equal(structure.get('ints'), [0, -1, 255, 256, -129, 2 ** 31, 2n ** 64n, -(2n ** 63n)]);
  assert.equal(structure.get('floats'), [new PyFloat(1.5), new PyFloat(1), new PyFloat(-0)]);
  assert.equal(structure.get('t'), new PyTuple(['a', null, true, 4, 5]));
  assert.equal((structure.get('ordered') as OrderedDict).attributes, new Map([['_metadata', new Map([['version', 2]])]]));
  const [a, b] = ['a', 'b'].map((name) => structure.get(name) as FileTensor);
  assert.is(a!.storage, b!.storage, 'one storage for a tensor that is written twice');
  const plain = checkpoint.plain() as Record<string, unknown>;
  assert.equal(plain.t, ['a', null, true, 4, 5]);
  assert.is(Object.getPrototypeOf(plain), null);
});

test('records begin at multiples of 64 bytes', async () => {
  const path = join(folder, 'aligned.pth');
  await writePth(path, { a: { dtype: 'u8', shape: [3], data: Uint8Array.of(9, 8, 7) }, b: f32(1) });
  const bytes = readFileSync(path);
  assert.is(bytes.indexOf(Buffer.from([9, 8, 7])) % 64, 0);
});

test.run();
