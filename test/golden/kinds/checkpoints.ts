// Files of torch.save: structure, and every tensor byte for byte, read as data and through Checkpoint.load; training resumed from one.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Checkpoint,
  FileTensor,
  fileDType,
  OrderedDict,
  openCheckpoint,
  PyFloat,
  PyTuple,
  type PyValue,
} from '../../../ts/checkpoint/index.js';
import { CheckpointError } from '../../../ts/core/errors.js';
import type { Engine } from '../../../ts/engine/index.js';
import { decodeState } from '../../../ts/train/saved.js';
import { numbersOf } from '../../unit/checkpoint/numbers.js';
import { type Check, compare, type GoldenCase, input, type KindRunner, outputs, read } from '../kind.js';
import { batchOf, disposeTraining, type Iteration, makeTraining, trainIteration } from '../var-training.js';

interface ExpectedTensor {
  $tensor: string;
  dtype: string;
  shape: number[];
  parameter?: boolean;
}

type Expected =
  | null
  | boolean
  | number
  | string
  | ExpectedTensor
  | { $dict: [Expected, Expected][] }
  | { $ordered: [Expected, Expected][] }
  | { $tuple: Expected[] }
  | { $list: Expected[] }
  | { $int: string };

interface CheckpointsCase {
  files: { file: string; container: 'zip' | 'legacy'; tensors: string; structure: string }[];
  resumed_iterations: Iteration[];
}

/** Walks the structure beside the expected one; collects differences, and the keys of tensors by their expected names. */
class Comparison {
  readonly wrong: string[] = [];
  readonly keys = new Map<string, string>();

  compare(got: PyValue | undefined, want: Expected, path: string): void {
    if (typeof want !== 'object' || want === null) this.scalar(got, want, path);
    else if ('$tensor' in want) this.tensor(got, want, path);
    else if ('$int' in want) this.expect(typeof got === 'bigint' && String(got) === want.$int, path);
    else if ('$list' in want) this.list(Array.isArray(got) ? got : undefined, want.$list, path);
    else if ('$tuple' in want) this.list(got instanceof PyTuple ? got.items : undefined, want.$tuple, path);
    else if ('$ordered' in want) this.dict(got instanceof OrderedDict ? got : undefined, want.$ordered, path);
    else this.dict(got instanceof Map && !(got instanceof OrderedDict) ? got : undefined, want.$dict, path);
  }

  private expect(ok: boolean, path: string): void {
    if (!ok) this.wrong.push(path);
  }

  private scalar(got: PyValue | undefined, want: null | boolean | number | string, path: string): void {
    const value = got instanceof PyFloat ? got.value : typeof got === 'bigint' ? Number(got) : got;
    this.expect(value === want, path);
  }

  private tensor(got: PyValue | undefined, want: ExpectedTensor, path: string): void {
    const ok = got instanceof FileTensor && fileDType(got.dtype).torch === want.dtype && String(got.shape) === String(want.shape);
    this.expect(ok && got.parameter === (want.parameter ?? false), path);
    if (ok) this.keys.set(want.$tensor, path);
  }

  private list(got: readonly PyValue[] | undefined, want: Expected[], path: string): void {
    this.expect(got?.length === want.length, path);
    for (const [i, item] of want.entries()) this.compare(got?.[i], item, join2(path, i));
  }

  private dict(got: Map<PyValue, PyValue> | undefined, want: [Expected, Expected][], path: string): void {
    const entries = [...(got ?? [])];
    this.expect(entries.length === want.length, path);
    for (const [i, [key, value]] of want.entries()) {
      this.compare(entries[i]?.[0], key, `${path}<key ${i}>`);
      this.compare(entries[i]?.[1], value, join2(path, String(key)));
    }
  }
}

function join2(path: string, key: string | number): string {
  return path === '' ? String(key) : `${path}.${key}`;
}

function differingBytes(got: Uint8Array, want: Uint8Array): number {
  let n = Math.abs(got.length - want.length);
  for (let i = 0; i < Math.min(got.length, want.length); i++) if (got[i] !== want[i]) n++;
  return n;
}

/** True where the engine has no place for a tensor: no elements, no such dtype, or 64-bit integers beyond i32. Loading it must be refused. */
async function unloadable(checkpoint: Checkpoint, key: string): Promise<boolean> {
  const { dtype, shape } = checkpoint.info(key);
  if (shape.includes(0) || fileDType(dtype).engine === undefined) return true;
  return dtype === 'i64' && numbersOf(await checkpoint.bytes(key), dtype).some((value) => BigInt.asIntN(32, BigInt(value)) !== value);
}

/** Engine copies of both must agree too. */
async function differingLoaded(engine: Engine, got: Checkpoint, key: string, want: Checkpoint, wantKey: string): Promise<number> {
  if (await unloadable(got, key)) {
    try {
      got.load(engine, key).dispose();
      return 1;
    } catch (error) {
      return error instanceof CheckpointError && error.key === key ? 0 : 1;
    }
  }
  using a = got.load(engine, key);
  using b = want.load(engine, wantKey);
  const [x, y] = await Promise.all([a.read(), b.read()]);
  return differingBytes(new Uint8Array(x.buffer, x.byteOffset, x.byteLength), new Uint8Array(y.buffer, y.byteOffset, y.byteLength));
}

async function checkFile(c: GoldenCase, entry: CheckpointsCase['files'][number], engine: Engine): Promise<Check[]> {
  const got = await openCheckpoint(join(c.dir, entry.file), { root: '' });
  const want = await openCheckpoint(join(c.dir, entry.tensors), { root: '' });
  const comparison = new Comparison();
  comparison.compare(got.structure, JSON.parse(readFileSync(join(c.dir, entry.structure), 'utf8')) as Expected, '');
  const container = got.format === (entry.container === 'zip' ? 'pth' : 'pth-legacy') ? 0 : 1;
  const checks = [check(`${entry.file}/structure`, comparison.wrong.length + container)];
  for (const name of want.keys()) {
    const key = comparison.keys.get(name);
    const bad =
      key === undefined
        ? 1
        : differingBytes(await got.bytes(key), await want.bytes(name)) + (await differingLoaded(engine, got, key, want, name));
    checks.push(check(`${entry.file}/${name}`, bad));
  }
  return checks;
}

function check(tensor: string, differences: number): Check {
  return { tensor, maxAbsErr: differences, tolerance: 0, ok: differences === 0 };
}

/** The epoch that follows: training goes on from the reference's own file of a run. */
async function resumed(c: GoldenCase, engine: Engine, file: string): Promise<Check[]> {
  const { resumed_iterations } = c.json as unknown as CheckpointsCase;
  const training = await makeTraining(c, engine);
  const { task, stepper } = training;
  try {
    const checkpoint = await openCheckpoint(join(c.dir, file), { root: '' });
    const trainer = decodeState(checkpoint).trainer as Record<string, unknown>;
    await task.restore(trainer);
    await stepper.restore(trainer.var_opt);
    checkpoint.close();
    const checks: Check[] = [];
    const [losses, norms]: [number[], number[]] = [[], []];
    for (const [i, iteration] of resumed_iterations.entries()) {
      const batch = batchOf(input(c, 'img_u8'), input(c, 'label'), i);
      const trained = await trainIteration(training, batch, iteration, c.json.tensors!['resumed/loss']!.atol as number);
      checks.push(...trained.checks);
      losses.push(trained.result.loss);
      norms.push(trained.gradNorm!);
    }
    checks.push(compare(c, 'resumed/loss', { shape: [losses.length], data: losses }));
    checks.push(compare(c, 'resumed/grad_norm', { shape: [norms.length], data: norms }));
    for (const name of outputs(c)) {
      const parameter = name.replace('resumed/', '');
      if (task.params.has(parameter)) checks.push(compare(c, name, await read(task.params.get(parameter))));
    }
    return checks;
  } finally {
    disposeTraining(training);
  }
}

export const run: KindRunner = async (c, { engine }) => {
  const { files } = c.json as unknown as CheckpointsCase;
  const checks: Check[] = [];
  for (const entry of files) checks.push(...(await checkFile(c, entry, engine)));
  const run = files.find(({ file }) => file.startsWith('ar-ckpt-last'));
  if (run && outputs(c).length > 0) checks.push(...(await resumed(c, engine, run.file)));
  return checks;
};
