// Kernels are checked before they are timed: the same small call on the device and on the CPU engine.
import type { DType, TypedData } from '../../ts/core/dtype.js';
import type { Engine, Tensor } from '../../ts/engine/index.js';
import { hostSource, makeCall } from './calls.js';
import { nameOf, type Spec } from './specs.js';

const TOLERANCE: Readonly<Record<string, number>> = { f32: 1e-4, f16: 1e-2, bf16: 4e-2 };
/** Of chosen indices this share may differ: near ties. */
const DIFFERENT = 0.02;

async function resultOf(engine: Engine, s: Spec): Promise<{ dtype: DType; data: TypedData }> {
  const scope = engine.openScope();
  try {
    const y = scope.run(() => {
      const call = makeCall(engine, hostSource(engine, 1), s);
      const out: Tensor = call.run() ?? call.changed![0]!;
      return out.dtype === 'f16' || out.dtype === 'bf16' ? engine.ops.cast(out, { dtype: 'f32' }) : out;
    });
    return { dtype: y.dtype, data: await y.read() };
  } finally {
    scope.close();
  }
}

const checked = new Map<string, number>();

/** Largest difference against the largest value; throws beyond what the dtype allows. */
export async function checkSpec(device: Engine, cpu: Engine, s: Spec): Promise<number> {
  const known = checked.get(nameOf(s));
  if (known !== undefined) return known;
  const [got, want] = [await resultOf(device, s), await resultOf(cpu, s)];
  let [worst, largest, different] = [0, 1e-30, 0];
  want.data.forEach((w, i) => {
    const g = got.data[i]!;
    if (g !== w) different++;
    largest = Math.max(largest, Math.abs(w));
    worst = Number.isNaN(g) ? Number.POSITIVE_INFINITY : Math.max(worst, Math.abs(g - w));
  });
  const integer = want.dtype === 'i32';
  const error = integer ? different / want.data.length : worst / largest;
  const allowed = integer ? DIFFERENT : TOLERANCE[s.dtype]!;
  if (!(error <= allowed)) throw new Error(`${nameOf(s)}: ${error} from the CPU, ${allowed} is allowed; it is not timed`);
  checked.set(nameOf(s), error);
  return error;
}
