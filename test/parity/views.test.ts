// driver: timeout=300
// Every op on inputs that are views: one element behind the start of their memory, between elements of NaN (or 9 million). The results have
// the bits of the call on tensors of their own, and what lies around the views stays as it was. NEXTSCALE_DEVICE chooses the device: a GPU
// may take another kernel for memory that is not aligned, its results have to agree with the definition.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { allocate, type DType, type TypedData } from '../../ts/core/dtype.js';
import type { Engine, Tensor } from '../../ts/engine/index.js';
import type { Reference } from '../reference/kit.js';
import { type Case, casesOf, DECLARED } from './cases.js';
import { device, openDevice } from './device.js';
import { referenceOf } from './references.js';
import { callOp, drawCase, judge, type Read, runOn, sameBits } from './run.js';

const seed = Number(process.env.NEXTSCALE_SEED ?? 20240403);
const wanted = process.env.NEXTSCALE_OPS?.split(',');
const views = suite('views as inputs');
const { engines, missing } = await openDevice([2]);
const engine = engines[0] as Engine;

views.after(async () => {
  await engine?.close();
});

// f16 and bf16 are bits here: 0xffff is a NaN of both.
const AROUND: Readonly<Record<DType, number>> = { f32: Number.NaN, f16: 0xffff, bf16: 0xffff, i32: 9e6, u8: 255 };
const BEFORE = 1;
const BEHIND = 2;

function surrounded(data: TypedData, dtype: DType): TypedData {
  const out = allocate(dtype, data.length + BEFORE + BEHIND);
  out.fill(AROUND[dtype]);
  out.set(data, BEFORE);
  return out;
}

const NOTHING: Reference = () => ({ tensors: {} });

async function problemsOf(c: Case): Promise<string[]> {
  const drawn = drawCase(c, device === 'cpu' ? NOTHING : await referenceOf(c.op.name), seed);
  const plain = await runOn(engine, c, drawn);
  const scope = engine.openScope();
  try {
    const bases = new Map<string, Tensor>();
    let y: Tensor | undefined;
    scope.run(() => {
      const inputs = new Map<string, Tensor>();
      for (const [name, { data, dtype, shape }] of Object.entries(plain.before)) {
        const base = engine.tensor(surrounded(data, dtype), [data.length + BEFORE + BEHIND], dtype);
        bases.set(name, base);
        inputs.set(name, engine.view(base, BEFORE, shape));
      }
      y = callOp(engine, c, inputs);
    });
    const problems: string[] = [];
    const others: string[] = [];
    const reads: Record<string, Read> = {};
    const [output] = Object.entries(plain.out);
    if (y && output) {
      const [name, result] = output;
      reads[name] = { ...result, data: await y.read() };
      if (!sameBits(reads[name].data, result.data)) others.push('the result has other bits');
    }
    for (const [name, base] of bases) {
      const { dtype, data } = plain.after[name] as Read;
      const all = await base.read();
      reads[name] = { ...(plain.after[name] as Read), data: all.slice(BEFORE, BEFORE + data.length) };
      if (!sameBits(reads[name].data, data)) others.push(`${name} has other bits`);
      if (!sameBits(all, surrounded(reads[name].data, dtype))) problems.push(`what lies around ${name} has other bits`);
    }
    if (device === 'cpu') problems.push(...others);
    else if (others.length > 0) problems.push(...judge(c, drawn, device, reads).problems);
    return problems.map((p) => `${c.op.name} ${c.label}: ${p}`);
  } finally {
    scope.close();
  }
}

for (const op of DECLARED) {
  if (wanted && !wanted.includes(op.name)) continue;
  const test = missing ? views.skip : views;
  test(op.name, async () => {
    const problems: string[] = [];
    for (const c of casesOf(op, seed)) problems.push(...(await problemsOf(c)));
    assert.is(problems.length, 0, problems.join('\n'));
  });
}

views.run();
