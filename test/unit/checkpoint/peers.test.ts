// Files we write open in PyTorch and safetensors with equal tensors, and files they write open here. Needs a Python with torch; without
// one the tests count as skipped. NEXTSCALE_TEST_PYTHON names interpreters (separated by ':') to try besides those on PATH.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { OrderedDict, openCheckpoint, PyFloat, PyTuple, writePth, writeSafetensors } from '../../../ts/checkpoint/index.js';
import { temporaryFolder } from './temporary.js';

const test = suite('peers');
const folder = temporaryFolder();

interface Python {
  path: string;
  torch: string;
  safetensors: boolean;
}

/** Without a sanitizer that this process may have been given. */
const ENV = { ...process.env, LD_PRELOAD: '' };

function probe(path: string): Python[] {
  const code = `
import json, torch
try:
    import safetensors.torch
    found = True
except ImportError:
    found = False
print(json.dumps([torch.__version__, found]))`;
  try {
    const [torch, safetensors] = JSON.parse(execFileSync(path, ['-c', code], { stdio: 'pipe', timeout: 60_000, env: ENV }).toString()) as [
      string,
      boolean,
    ];
    return [{ path, torch, safetensors }];
  } catch {
    return [];
  }
}

const candidates = [...(process.env.NEXTSCALE_TEST_PYTHON?.split(':') ?? []), 'python3', '/usr/bin/python3'];
const pythons = [...new Map(candidates.flatMap(probe).map((python) => [python.torch, python])).values()];

function run(python: Python, script: string, ...args: string[]): string {
  const path = join(folder, 'script.py');
  writeFileSync(path, script);
  return execFileSync(python.path, [path, ...args], { stdio: 'pipe', timeout: 120_000, env: ENV }).toString();
}

/** Prints name, dtype, shape and bytes of every tensor, one a line. */
const DUMP = `
import sys, torch
def dump(d, prefix=''):
    for k, v in (d.items() if isinstance(d, dict) else enumerate(d)):
        if torch.is_tensor(v):
            raw = v.detach().contiguous().reshape(-1)
            size = raw.element_size()
            raw = raw.view(torch.uint8) if raw.dtype != torch.bool and size > 1 and raw.numel() else raw.to(torch.uint8) if raw.dtype == torch.bool else raw
            print(prefix + str(k), str(v.dtype)[6:], ','.join(map(str, v.shape)), bytes(raw.tolist()).hex() if raw.dtype == torch.uint8 else bytes(x % 256 for x in raw.tolist()).hex(), sep='|')
        elif isinstance(v, (dict, list, tuple)):
            dump(v, prefix + str(k) + '.')
`;

const f32 = Float32Array.from([1.5, -0, 3e-40, Number.POSITIVE_INFINITY, Number.NaN, 1 / 3]);
const TENSORS = {
  f32: { dtype: 'f32' as const, shape: [2, 3], data: f32 },
  f16: { dtype: 'f16' as const, shape: [2], data: Uint16Array.of(0x3c00, 0x7bff) },
  bf16: { dtype: 'bf16' as const, shape: [1, 2], data: Uint16Array.of(0x3f80, 0xc000) },
  i64: { dtype: 'i64' as const, shape: [2], data: BigInt64Array.of(-1n, 2n ** 62n) },
  i32: { dtype: 'i32' as const, shape: [1], data: Int32Array.of(-7) },
  u8: { dtype: 'u8' as const, shape: [3], data: Uint8Array.of(0, 128, 255) },
  bool: { dtype: 'bool' as const, shape: [2], data: Uint8Array.of(1, 0) },
  f64: { dtype: 'f64' as const, shape: [], data: Float64Array.of(0.1) },
};

const TORCH: Readonly<Record<string, string>> = {
  f32: 'float32',
  f16: 'float16',
  bf16: 'bfloat16',
  i64: 'int64',
  i32: 'int32',
  i16: 'int16',
  i8: 'int8',
  u8: 'uint8',
  bool: 'bool',
  f64: 'float64',
};

function line(name: string, dtype: string, shape: readonly number[], bytes: Uint8Array): string {
  return `${name}|${TORCH[dtype]}|${shape}|${Buffer.from(bytes).toString('hex')}`;
}

const expected = Object.entries(TENSORS).map(([name, t]) => line(name, t.dtype, t.shape, new Uint8Array(t.data.buffer)));

for (const python of pythons) {
  test(`torch ${python.torch} opens our .pth with weights_only=True`, async () => {
    const path = join(folder, 'ours.pth');
    await writePth(path, {
      model: new OrderedDict<unknown>(Object.entries(TENSORS)),
      step: 3,
      big: 2n ** 70n,
      betas: new PyTuple([1, 2, 3, 4]),
      text: 'é',
    } as never);
    const script = `${DUMP}
d = torch.load(sys.argv[1], weights_only=True)
assert d['step'] == 3 and d['big'] == 2**70 and d['betas'] == (1, 2, 3, 4) and d['text'] == 'é', d
dump(d['model'])`;
    assert.equal(run(python, script, path).trim().split('\n'), expected);
  });

  // weights_only of torch 1.13 reads no floating-point numbers, and has no list of safe globals.
  test(`torch ${python.torch} reads our floats`, async () => {
    const path = join(folder, 'floats.pth');
    await writePth(path, { lr: 0.1, one: new PyFloat(1), list: [1.5, { a: null }] });
    const script = `import sys, torch
d = torch.load(sys.argv[1], weights_only=torch.__version__[0] != '1')
assert d == {'lr': 0.1, 'one': 1.0, 'list': [1.5, {'a': None}]} and isinstance(d['one'], float), d
print('ok')`;
    assert.is(run(python, script, path).trim(), 'ok');
  });

  test(`we open what torch ${python.torch} saves, in both containers`, async () => {
    const script = `${DUMP}
import collections
base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
d = {'a': base.t(), 'b': base[1:3, ::2], 'c': base, 'n': {'p': torch.nn.Parameter(torch.ones(2, 2)), 'l': [torch.tensor(5), torch.tensor(True)]},
     'h': torch.ones(3).half(), 'bf': torch.ones(3).bfloat16(), 'i8': torch.tensor([-3], dtype=torch.int8), 'sd': torch.nn.BatchNorm1d(2).state_dict()}
torch.save(d, sys.argv[1])
torch.save(d, sys.argv[2], _use_new_zipfile_serialization=False)
dump(d)`;
    const paths = ['theirs.pth', 'theirs-legacy.pth'].map((name) => join(folder, name));
    const want = run(python, script, ...paths)
      .trim()
      .split('\n');
    for (const path of paths) {
      const checkpoint = await openCheckpoint(path, { root: '' });
      const got: string[] = [];
      for (const key of checkpoint.keys())
        got.push(line(key, checkpoint.info(key).dtype, checkpoint.info(key).shape, await checkpoint.bytes(key)));
      assert.equal(got, want);
    }
  });

  if (python.safetensors) {
    test(`safetensors (torch ${python.torch}) opens our file, and we open the one it writes`, async () => {
      const ours = join(folder, 'ours.safetensors');
      const theirs = join(folder, 'theirs.safetensors');
      await writeSafetensors(ours, TENSORS, { format: 'pt' });
      const script = `${DUMP}
import safetensors.torch
d = safetensors.torch.load_file(sys.argv[1])
safetensors.torch.save_file(d, sys.argv[2], metadata={'by': 'them'})
dump(d)`;
      assert.equal(run(python, script, ours, theirs).trim().split('\n').sort(), expected.slice().sort());
      const checkpoint = await openCheckpoint(theirs);
      assert.is(checkpoint.metadata.by, 'them');
      for (const [name, t] of Object.entries(TENSORS)) assert.equal(await checkpoint.bytes(name), new Uint8Array(t.data.buffer));
      assert.is(readFileSync(ours).readUInt32LE(0) % 8, 0);
    });
  }
}

if (pythons.length === 0) test.skip('no Python with torch was found (NEXTSCALE_TEST_PYTHON)', () => undefined);
else if (!pythons.some((python) => python.safetensors))
  test.skip('no Python with safetensors was found (NEXTSCALE_TEST_PYTHON)', () => undefined);

test.run();
