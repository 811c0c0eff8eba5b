// What the guide says of transformed convolutions, at the width of the released VQVAE (ch 160), random weights.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, VQVAE, type VqvaeInitOptions } from '../../../ts/index.js';

const test = suite('Winograd at full width');

/** A hundredth of the distance of two bytes, on the scale of [-1, 1]. */
const HUNDREDTH = 2 / 255 / 100;

let engine: Engine;
test.before(async () => {
  engine = await createEngine({ threads: 2 });
});
test.after(() => engine.close());

interface Measured {
  readonly image: Float32Array;
  /** Weights, before and after the encoder is used. */
  readonly gigabytes: readonly [decoder: number, both: number];
}

async function measure(options: VqvaeInitOptions): Promise<Measured> {
  await engine.flush();
  const before = engine.memory().liveBytes;
  const model = await VQVAE.init(engine, { seed: 5, ...options });
  const used = async (): Promise<number> => {
    await engine.flush();
    return (engine.memory().liveBytes - before) / 1e9;
  };
  const decoder = await used();
  let image: Float32Array;
  {
    using fHat = engine.ops.random({ shape: [1, 4, 4, 32], kind: 'normal', seedLo: 3 });
    using decoded = model.fHatToImg(fHat);
    image = (await decoded.read()) as Float32Array;
    using photo = engine.ops.random({ shape: [1, 32, 32, 3], kind: 'uniform', seedLo: 4 });
    using features = await model.encode(photo);
    await features.read();
  }
  const both = await used();
  model.dispose();
  return { image, gigabytes: [decoder, both] };
}

const largest = (a: Float32Array, b: Float32Array): number => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);
const rms = (a: Float32Array, b: Float32Array): number => Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0) / a.length);

function near([decoder, both]: Measured['gigabytes'], want: readonly [number, number]): void {
  assert.ok(Math.abs(decoder - want[0]) < 0.005, `decoder ${decoder.toFixed(3)} GB`);
  assert.ok(Math.abs(both - want[1]) < 0.005, `with the encoder ${both.toFixed(3)} GB`);
}

test('weights take the gigabytes of the guide; pixels differ from plain sums by less than a hundredth of a level of a byte', async () => {
  const plain = await measure({ winograd: 0 });
  near(plain.gigabytes, [0.28, 0.465]);
  const small = await measure({ winograd: 2 });
  near(small.gigabytes, [0.46, 0.76]);
  const chosen = await measure({});
  near(chosen.gigabytes, [0.66, 0.96]);
  const errors = [largest(small.image, plain.image), largest(chosen.image, plain.image)] as const;
  assert.ok(errors[0] > 0 && errors[0] < errors[1] && errors[1] < HUNDREDTH, errors.join(', '));
});

test('the larger transform makes several times as much of the rounding of 16-bit weights', async () => {
  const { image: exact } = await measure({ winograd: 0 });
  const error = async (winograd: 2 | 4) => rms((await measure({ dtype: 'f16', winograd })).image, exact);
  const [small, large] = [await error(2), await error(4)];
  assert.ok(large > 2.5 * small && large < 6 * small, `${small}, ${large}`);
});

test.run();
