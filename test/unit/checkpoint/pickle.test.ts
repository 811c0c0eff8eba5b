import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PyFloat, type PyObject, PyTuple, type PyValue } from '../../../ts/checkpoint/index.js';
import { PickleEnd } from '../../../ts/checkpoint/pickle-reader.js';
import { unpickle } from '../../../ts/checkpoint/unpickle.js';
import { CheckpointError } from '../../../ts/core/errors.js';
import { bytesOf, type Part, text } from './pickles.js';

const test = suite('unpickler');

const read = (...parts: Part[]): PyValue => unpickle(bytesOf(...parts), { file: 'x.pth', base: 100 }).value;

function refused(...parts: Part[]): CheckpointError {
  try {
    read(...parts);
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  return assert.unreachable('expected a CheckpointError') as never;
}

test('scalars of every protocol', () => {
  const cases: [Part[], PyValue][] = [
    [['I42\n.'], 42],
    [['I01\n.'], true],
    [['L-7L\n.'], -7],
    [['J', 0xfffffff9, '.'], -7],
    [['\x8a\x00.'], 0],
    [['\x8a\x02\xff\x7f.'], 32767],
    [['\x8a\x01\x80.'], -128],
    [['\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.'], 2n ** 64n],
    [['F1.5\n.'], new PyFloat(1.5)],
    [['G\x3f\xf0\x00\x00\x00\x00\x00\x00.'], new PyFloat(1)],
    [[text('größe'), '.'], 'größe'],
    [['U\x02ab.'], 'ab'],
    [['C\x02\x00\xff.'], Uint8Array.of(0, 255)],
    [['V\\u5c3a\n.'], '尺'],
  ];
  for (const [parts, want] of cases) assert.equal(read(...parts), want);
});

test('containers, memo and marks', () => {
  assert.equal(read('](K\x01K\x02e.'), [1, 2]);
  assert.equal(read('(K\x01K\x02K\x03K\x04t.'), new PyTuple([1, 2, 3, 4]));
  assert.equal(
    read('}(', text('a'), ']q\x05', text('b'), 'h\x05u.'),
    new Map([
      ['a', []],
      ['b', []],
    ] as [PyValue, PyValue][]),
  );
  assert.equal(read('(K\x0100K\x02.'), 2, 'POP takes the mark after its values');
  const shared = read(']\x94h\x00\x86.') as PyTuple;
  assert.is(shared.items[0], shared.items[1]);
});

test('names that are not on the list are refused with file, offset and name', () => {
  for (const [module, name] of [
    ['os', 'system'],
    ['builtins', 'eval'],
    ['torch', 'load'],
    ['collections', 'OrderedDict.fromkeys'],
    ['collections', '__dict__'],
    ['', ''],
    ['pytorch_lightning.callbacks.x', 'A.b'],
  ]) {
    const error = refused(']', `c${module}\n${name}\n`, '.');
    assert.is(error.file, 'x.pth');
    assert.is(error.offset, 101);
    assert.ok(error.message.includes(JSON.stringify(`${module}.${name}`)), error.message);
  }
});

test('names that are data may not be called', () => {
  assert.match(refused('cbuiltins\nint\n)R.').message, /may be named but not called/);
  assert.match(refused('cpytorch_lightning.callbacks.early_stopping\nEarlyStopping\n)\x81.').message, /may be named but not called/);
  assert.match(refused('K\x01)R.').message, /no allowed name/);
});

test('harmless classes become data', () => {
  const namespace = read('cargparse\nNamespace\n)\x81}', text('lr'), 'K\x01sb.') as PyObject;
  assert.is(namespace.type, 'argparse.Namespace');
  assert.equal(namespace.state, new Map([['lr', 1]]));
  assert.equal(read('cpathlib\nPosixPath\n(', text('/'), text('a'), 'tR.'), '/a');
  assert.equal(read('c__builtin__\nset\n](K\x01K\x01e\x85R.'), new Set([1]));
  const scalar = bytesOf('cnumpy\ndtype\n(', text('f4'), '\x89\x88tR');
  assert.equal(read('cnumpy.core.multiarray\nscalar\n(', scalar, 'C\x04\x00\x00\x80\x3ftR.'), new PyFloat(1));
});

test('damaged pickles are refused with their offset', () => {
  assert.match(refused('0.').message, /byte 100: pickle: stack underflow/);
  assert.match(refused(']N(a.').message, /stack underflow/, 'nothing below a mark can be taken');
  assert.match(refused('t.').message, /no mark/);
  assert.match(refused('h\x01.').message, /memo 1 was never stored/);
  assert.match(refused('(.').message, /STOP/);
  assert.match(refused('}K\x01a.').message, /no list/);
  assert.match(refused('(K\x01d.').message, /odd number/);
  assert.match(refused('\x80\x63.').message, /protocol 99/);
  assert.match(refused('\x82\x01.').message, /unknown or not allowed/);
  assert.match(refused('X\x01\x00\x00\x00\xff.').message, /not valid UTF-8/);
  assert.match(refused('K\x01Q.').message, /persistent id where none is expected/);
  assert.throws(
    () => read('X', 1000, 'abc'),
    (error: unknown) => error instanceof PickleEnd,
  );
});

test('work is bounded: opcodes, and elements that constructors copy', () => {
  assert.match(refused(Buffer.alloc(5e6, 'N')).message, /more than 4000000 opcodes/);
  const list = bytesOf('](', Buffer.alloc(1e5, 'N'), 'eq\x00');
  const copies = Buffer.from('0c__builtin__\nset\nh\x00\x85R'.repeat(1000), 'latin1');
  assert.match(refused(list, copies, '.').message, /copied elements/);
});

test('integers and strings are bounded by their limits, not by what they claim', () => {
  assert.match(refused('\x8b', 0x7fffffff, '.').message, /integer of 2147483647 bytes/);
  assert.match(refused('X', 0xffffffff, '.').message, /length 4294967295/);
  assert.match(refused('\x8d\x00\x00\x00\x00\x00\x00\x00\x40.').message, /length 4611686018427387904/);
});

test.run();
