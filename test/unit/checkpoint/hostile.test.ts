// Malicious and damaged files, made here byte by byte: each is refused for its own reason, quickly, with nothing executed or changed.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../../../ts/checkpoint/index.js';
import { bytesOf, dictPickle, type Part, pth, tensor, text, zip } from './pickles.js';
import { refusal } from './refusal.js';
import { temporaryFolder } from './temporary.js';

const test = suite('hostile checkpoints');
const folder = temporaryFolder();
const MARKER = join(folder, 'EXECUTED');
const MAX_MS = 2000;

type Case = readonly [name: string, bytes: Uint8Array, reason: RegExp];

const six = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
const command = text(`touch ${MARKER}`);
const goodPickle = dictPickle('w', tensor('0', 6, 0, [2, 3], [3, 1]));
const good = pth(goodPickle, six);
const pickled = (...parts: Part[]): Uint8Array => pth(bytesOf('\x80\x02', ...parts, '.'), six);
const storage = (type: string, key: Uint8Array, elements: Uint8Array): Uint8Array =>
  bytesOf('(', text('storage'), `c${type}\n`, key, text('cpu'), elements, 'tQ');
const count = (n: number): Uint8Array => bytesOf('J', n);
const wide = (n: bigint): Uint8Array => {
  const bytes = Buffer.alloc(11);
  bytes.write('\x8a\x09', 'latin1');
  bytes.writeBigUInt64LE(n, 2);
  return bytes;
};
const rebuilt = (...args: Part[]): Uint8Array => pickled('ctorch._utils\n_rebuild_tensor_v2\n(', ...args, '\x89}tR');
const float6 = storage('torch\nFloatStorage', text('0'), count(6));

const CALLS: Case[] = [
  ['reduce', pickled('cposix\nsystem\n(', command, 'tR'), /"posix.system"/],
  ['named only', pickled('(cos\nsystem\nK\x01t'), /"os.system"/],
  ['stack global', pickled(text('builtins'), text('exec'), '\x93', '(', command, 'tR'), /"builtins.exec"/],
  ['inst', pickled('(', command, 'ios\nsystem\n'), /opcode 0x69/],
  ['obj', pickled('(', 'ctorch\nSize\n', command, 'o'), /opcode 0x6f/],
  ['newobj', pickled('csubprocess\nPopen\n(', command, 't\x81'), /"subprocess.Popen"/],
  ['newobj_ex', pickled('ccollections\nOrderedDict\n)}\x92'), /opcode 0x92/],
  ['extension', pickled('\x82\x01'), /opcode 0x82/],
  ['out-of-band buffer', pickled('\x97'), /opcode 0x97/],
  ['text persistent id', pickled('Pstorage\n'), /opcode 0x50/],
  ['getattr', pickled('cbuiltins\ngetattr\n(ccollections\nOrderedDict\n', text('__init__'), 'tR'), /"builtins.getattr"/],
  ['dotted name', pickled(text('collections'), text('OrderedDict.fromkeys'), '\x93'), /"collections.OrderedDict.fromkeys"/],
  ['in a state', pickled('ccollections\nOrderedDict\n)R(ceval\nx\ntb'), /"eval.x"/],
  ['in a persistent id', pickled('cbuiltins\neval\n(', command, 'tRQ'), /"builtins.eval"/],
  [
    'nested rebuild',
    pickled('ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nload\n', 'ctorch\nTensor\n(', command, 't}tR'),
    /"torch.load"/,
  ],
  ['rebuild of a class', pickled('ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nctorch\nTensor\n)}tR'), /named but not called/],
  ['state of a list', pickled(']}b'), /takes no state/],
  ['whole module', pickled('ctorch.nn.modules.linear\nLinear\n)\x81'), /"torch.nn.modules.linear.Linear"/],
  ['numpy array', pickled('cnumpy.core.multiarray\n_reconstruct\n)R'), /"numpy.core.multiarray._reconstruct"/],
];

const TENSORS: Case[] = [
  ['no storage', rebuilt('K\x01', 'K\x00', '))'), /without a storage/],
  ['storage that is none', pickled('(', text('module'), text('x'), 'tQ'), /no storage/],
  ['unknown storage class', pickled(storage('torch\nEvilStorage', text('0'), count(6))), /"torch.EvilStorage"/],
  ['class that is no storage', pickled(storage('torch\nSize', text('0'), count(6))), /unknown storage class/],
  ['key that is no text', pickled(storage('torch\nFloatStorage', count(0), count(6))), /without a key/],
  ['missing record', pickled(storage('torch\nFloatStorage', text('9'), count(6))), /no record for this storage/],
  ['climbing key', pickled(storage('torch\nFloatStorage', text('../version'), count(0))), /no record for this storage/],
  ['elements beyond the record', pickled(storage('torch\nFloatStorage', text('0'), count(7))), /needs 28 bytes, its record has 24/],
  ['elements beyond 2^53', pickled(storage('torch\nFloatStorage', text('0'), wide(2n ** 60n))), /bad number of elements/],
  ['negative elements', pickled(storage('torch\nFloatStorage', text('0'), count(0xffffffff))), /bad number of elements/],
  ['negative size', rebuilt(float6, 'K\x00', bytesOf('(', count(0xffffffff), 't'), '(K\x01t'), /size of a tensor/],
  ['negative stride', rebuilt(float6, 'K\x05', '(K\x06t', bytesOf('(', count(0xffffffff), 't')), /stride of a tensor/],
  ['negative offset', rebuilt(float6, count(0xffffffff), '(K\x01t', '(K\x01t'), /storage offset/],
  ['float size', rebuilt(float6, 'K\x00', '(G\x40\x00\x00\x00\x00\x00\x00\x00t', '(K\x01t'), /size of a tensor/],
  ['ranks differ', rebuilt(float6, 'K\x00', '(K\x02K\x03t', '(K\x01t'), /2 dimensions, stride 1/],
  ['product overflows', rebuilt(float6, 'K\x00', bytesOf('(', wide(2n ** 40n), wide(2n ** 40n), 't'), '(K\x00K\x00t'), /more than 2\^53/],
  [
    'stride overflows',
    rebuilt(float6, 'K\x00', '(K\x02K\x02t', bytesOf('(', wide(2n ** 53n - 1n), wide(2n ** 53n - 1n), 't')),
    /beyond 2\^53/,
  ],
  ['terabytes by stride 0', rebuilt(float6, 'K\x00', bytesOf('(', wide(2n ** 40n), 't'), '(K\x00t'), /expanded tensor/],
  [
    '65 dimensions',
    rebuilt(float6, 'K\x00', bytesOf('(', 'K\x01'.repeat(65), 't'), bytesOf('(', 'K\x01'.repeat(65), 't')),
    /65 dimensions/,
  ],
];

/** A copy with a field overwritten, found by a marker. */
function patched(bytes: Uint8Array, marker: string, offset: number, value: number, last = false): Uint8Array {
  const copy = Buffer.from(bytes);
  const at = last ? copy.lastIndexOf(marker, undefined, 'latin1') : copy.indexOf(marker, 0, 'latin1');
  copy.writeUInt32LE(value, at + offset);
  return copy;
}

const records = { 'a/data.pkl': goodPickle, 'a/data/0': six };

const ARCHIVES: Case[] = [
  ['cut', good.subarray(0, good.length - 1), /truncated/],
  ['half', good.subarray(0, good.length / 2), /truncated/],
  ['magic only', bytesOf('PK\x03\x04'), /truncated/],
  ['no records', zip({}), /without records/],
  ['no pickle', zip({ 'a/data/0': six }), /no data.pkl/],
  ['TorchScript', zip({ 'a/constants.pkl': six }), /TorchScript/],
  ['two roots', zip({ ...records, 'b/data.pkl': goodPickle }), /one folder/],
  ['no root', zip({ 'data.pkl': goodPickle }), /one folder/],
  ['climbing name', zip({ ...records, 'a/../../etc/x': six }), /unsafe record name/],
  ['absolute name', zip({ ...records, '/etc/x': six }), /unsafe record name/],
  ['backslash', zip({ ...records, 'a\\x': six }), /unsafe record name/],
  ['NUL in a name', zip({ ...records, 'a/x\0': six }), /unsafe record name/],
  ['big-endian', zip({ ...records, 'a/byteorder': bytesOf('big') }), /byte order "big"/],
  ['directory beyond the file', patched(good, 'PK\x05\x06', 16, 0x7fffffff, true), /beyond the end/],
  ['count lie', patched(good, 'PK\x05\x06', 8, 0x00090009, true), /claims 9/],
  ['offset lie', patched(good, 'PK\x01\x02', 42, 0x7fffffff, true), /beyond the data/],
  ['offset into data', patched(good, 'PK\x01\x02', 42, 7, true), /no record header/],
  ['size lie', patched(good, 'PK\x01\x02', 24, 0x7fffffff, true), /claims/],
  ['encrypted', patched(good, 'PK\x01\x02', 8, 1, true), /encrypted/],
  ['unknown compression', patched(good, 'PK\x01\x02', 10, 12, true), /compression method 12/],
  ['empty pickle', zip({ ...records, 'a/data.pkl': new Uint8Array(0) }), /ends early/],
  ['no STOP', zip({ ...records, 'a/data.pkl': bytesOf('\x80\x02}') }), /ends early/],
  ['frame beyond the pickle', pickled('\x95\xff\x00\x00\x00\x00\x00\x00\x00N'), /ends early/],
];

const MAGIC = '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.';
const VERSION = '\x80\x02M\xe9\x03.';
const SYSTEM = bytesOf('\x80\x02}', text('little_endian'), '\x88s.');
const KEYS = bytesOf('\x80\x02](', text('0'), 'e.');
const legacy = (...tail: Part[]): Uint8Array => bytesOf(MAGIC, VERSION, SYSTEM, goodPickle, ...tail);

const LEGACY: Case[] = [
  ['bare pickle', bytesOf('\x80\x02cos\nsystem\n(', command, 'tR.'), /"os.system"/],
  ['other magic', bytesOf('\x80\x02K\x01.'), /magic number is missing/],
  ['other protocol', bytesOf(MAGIC, '\x80\x02K\x05.'), /protocol 5, only 1001/],
  ['big-endian', bytesOf(MAGIC, VERSION, '\x80\x02}', text('little_endian'), '\x89s.'), /big-endian/],
  ['call in the object', bytesOf(MAGIC, VERSION, SYSTEM, '\x80\x02cos\nsystem\n(', command, 'tR.'), /"os.system"/],
  ['call in the keys', legacy('\x80\x02cos\nsystem\n.'), /"os.system"/],
  ['keys that are none', legacy('\x80\x02N.'), /list of storages is missing/],
  ['unknown key', legacy('\x80\x02](', text('7'), 'e.'), /names "7" that no tensor uses/],
  ['key twice', legacy('\x80\x02](', text('0'), text('0'), 'e.', 6, 0, six, 6, 0, six), /names this one twice/],
  ['storage absent', legacy('\x80\x02].'), /does not hold/],
  ['count lie', legacy(KEYS, 0, 0x10000000, six), /storage of 1152921504606846976 elements, the object says 6/],
  ['cut in the count', legacy(KEYS, 6), /truncated before this storage/],
  ['cut in the data', legacy(KEYS, 6, 0, six.subarray(1)), /truncated: this storage needs 24 bytes, 23 are left/],
  ['bytes at the end', legacy(KEYS, 6, 0, six, 'x'), /1 bytes after the last storage/],
];

const OTHER: Case[] = [
  ['empty', new Uint8Array(0), /empty/],
  ['text', bytesOf('hello'), /neither/],
  ['web page', bytesOf('<!DOCTYPE html><html>'), /web page/],
  ['LFS pointer', bytesOf('version https://git-lfs.github.com/spec/v1\n'), /git lfs pull/],
  ['tar', bytesOf('x'.repeat(257), 'ustar', 'x'.repeat(300)), /tar archive/],
];

const GROUPS = { CALLS, TENSORS, ARCHIVES, LEGACY, OTHER };

for (const [group, cases] of Object.entries(GROUPS)) {
  test(`${group.toLowerCase()}: ${cases.length} files are refused for their own reason`, async () => {
    for (const [name, bytes, reason] of cases) {
      const path = join(folder, 'hostile.pth');
      writeFileSync(path, bytes);
      const start = performance.now();
      const error = await refusal(openCheckpoint(path)).catch((cause: unknown) => assert.unreachable(`${name}: ${String(cause)}`) as never);
      assert.match(error.message, reason, `${name}: ${error.message}`);
      assert.is(error.file, path);
      assert.ok(performance.now() - start < MAX_MS, `${name} took too long`);
    }
    assert.not.ok(existsSync(MARKER), 'a payload ran');
  });
}

test('the files that the hostile ones are made from load', async () => {
  for (const bytes of [good, legacy(KEYS, 6, 0, six), rebuilt(float6, 'K\x00', '(K\x06t', '(K\x01t')]) {
    const path = join(folder, 'good.pth');
    writeFileSync(path, bytes);
    const checkpoint = await openCheckpoint(path);
    assert.equal(await checkpoint.bytes(checkpoint.keys()[0]!), six);
  }
});

test('names of JavaScript are ordinary keys, and change nothing', async () => {
  const before = Object.getOwnPropertyNames(Object.prototype).join();
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
  const nested = bytesOf(
    '\x80\x02}(',
    ...names.map((name) => bytesOf(text(name), '}', text('polluted'), tensor('0', 6, 0, [6], [1]), 's')),
    'u.',
  );
  const path = join(folder, 'names.pth');
  writeFileSync(path, pth(nested, six));
  const checkpoint = await openCheckpoint(path, { root: '' });
  assert.equal(
    checkpoint.keys(),
    names.map((name) => `${name}.polluted`),
  );
  assert.equal(Object.keys(checkpoint.plain() as object), names);
  assert.is(({} as Record<string, unknown>).polluted, undefined);
  assert.is(Object.getOwnPropertyNames(Object.prototype).join(), before);
});

test.run();
