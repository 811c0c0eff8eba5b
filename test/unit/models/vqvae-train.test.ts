// The quantizer's training forward against inference, plain float64 loops and finite differences.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../../ts/autograd/index.js';
import { createEngine, type Engine, type Tensor } from '../../../ts/index.js';
import { frozenGraph, quantizeTrain, scaleResiduals, VqvaeModel, vqvaeConfig } from '../../../ts/models/vqvae/index.js';
import { InitSource, Parameters } from '../../../ts/nn/index.js';

const test = suite('quantizer in training');
const B = 2;
const SIDE = 4;
const C = 6;
const V = 12;
let engine: Engine;

test.before(async () => {
  engine = await createEngine();
});
test.after(async () => {
  await engine.close();
});

interface Setup {
  readonly model: VqvaeModel;
  readonly params: Parameters;
  readonly f: Tensor;
  dispose(): void;
}

async function setup(more: object = {}): Promise<Setup> {
  const model = new VqvaeModel(
    vqvaeConfig({ vocabSize: V, zChannels: C, ch: 32, chMult: [1], numResBlocks: 1, patchNums: [1, 2, SIDE], beta: 0.3, ...more }),
  );
  const specs = model.parameters();
  const params = await Parameters.create(engine, specs, new InitSource(specs, 3));
  const f = engine.ops.random({ shape: [B, SIDE, SIDE, C], kind: 'normal', seedLo: 11 });
  return {
    model,
    params,
    f,
    dispose: () => {
      model.dispose();
      params.dispose();
      f.dispose();
    },
  };
}

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.read(), Number);

for (const usingZnorm of [false, true])
  test(`tokens and f_hat are those of inference, usingZnorm ${usingZnorm}`, async () => {
    const { model, params, f, dispose } = await setup({ usingZnorm });
    params.bind(engine, model.quantize);
    const want = model.quantize.fToScales(engine, f, true);
    const q = quantizeTrain(frozenGraph(engine), model.quantize, model.config, f, { residuals: true, everyScale: true });
    const perScale = await Promise.all(want.idxBl.map(numbers));
    const joined = Array.from({ length: B }, (_, b) =>
      perScale.flatMap((idx) => idx.slice((b * idx.length) / B, ((b + 1) * idx.length) / B)),
    );
    assert.equal(await numbers(q.tokens), joined.flat());
    for (const [si, fHat] of q.fHats.entries()) assert.equal(await numbers(fHat), await numbers(want.fHats[si]!));
    const last = await numbers(want.fHats.at(-1)!);
    for (const [i, value] of (await numbers(q.fHat)).entries()) assert.ok(Math.abs(value - last[i]!) < 1e-5);
    using residuals = scaleResiduals(engine, model.quantize, model.config, f, true);
    assert.equal(await numbers(q.residuals!), await numbers(residuals));
    dispose();
  });

test('the loss is the mean over scales of commitment and codebook terms', async () => {
  const { model, params, f, dispose } = await setup();
  params.bind(engine, model.quantize);
  const q = quantizeTrain(frozenGraph(engine), model.quantize, model.config, f, { everyScale: true });
  const features = await numbers(f);
  let want = 0;
  for (const fHat of q.fHats) {
    const values = await numbers(fHat);
    want += (1.3 * values.reduce((sum, value, i) => sum + (value - features[i]!) ** 2, 0)) / values.length / 3;
  }
  assert.ok(Math.abs((await numbers(q.vqLoss))[0]! - want) < 1e-5 * want);
  dispose();
});

/** Soft-assignment entropies in float64: mean of the rows' minus that of their mean. */
function entropyReference(z: number[], codes: number[], temperature: number, cosine: boolean): number {
  const unit = (x: number[]) => x.map((value) => value / Math.sqrt(x.reduce((sum, other) => sum + other * other, 0)));
  const rows = (data: number[]) => {
    const list = Array.from({ length: data.length / C }, (_, i) => data.slice(i * C, (i + 1) * C));
    return cosine ? list.map(unit) : list;
  };
  const table = rows(codes);
  const mean = new Array<number>(V).fill(0);
  let perRow = 0;
  const list = rows(z);
  for (const row of list) {
    const score = table.map((code) => code.reduce((sum, e, k) => sum + (cosine ? e * row[k]! : -((e - row[k]!) ** 2)), 0) / temperature);
    const top = Math.max(...score);
    const weights = score.map((s) => Math.exp(s - top));
    const total = weights.reduce((a, b) => a + b, 0);
    for (const [v, w] of weights.entries()) {
      const p = w / total;
      mean[v]! += p / list.length;
      perRow -= (p * Math.log(p)) / list.length;
    }
  }
  return perRow + mean.reduce((sum, p) => sum + p * Math.log(p), 0);
}

for (const usingZnorm of [false, true])
  test(`entropy term, usingZnorm ${usingZnorm}: values of plain loops, gradients of finite differences`, async () => {
    const { model, params, f, dispose } = await setup({ usingZnorm, patchNums: [1, SIDE] });
    const temperature = 0.7;
    params.bind(engine, model.quantize);
    const plain = quantizeTrain(frozenGraph(engine), model.quantize, model.config, f, { entropy: { temperature }, everyScale: true });
    const codes = await numbers(params.get('quantize.embedding.weight'));
    const [features, first] = [await numbers(f), await numbers(plain.fHats[0]!)];
    const reference = (data: number[]): number => {
      const size = SIDE * SIDE;
      const means = Array.from({ length: B * C }, (_, i) => {
        const [b, c] = [Math.floor(i / C), i % C];
        return Array.from({ length: size }, (_, p) => data[(b * size + p) * C + c]!).reduce((a, x) => a + x, 0) / size;
      });
      const rest = data.map((value, i) => value - first[i]!);
      return (entropyReference(means, codes, temperature, usingZnorm) + entropyReference(rest, codes, temperature, usingZnorm)) / 2;
    };
    assert.ok(Math.abs((await numbers(plain.entropy!))[0]! - reference(features)) < 1e-5);
    const gradient = engine.ops.fill({ shape: f.shape as number[] });
    const tape = new Tape(engine);
    const { entropy } = tape.run(() => {
      tape.watch(f, gradient);
      params.bind(tape, model.quantize);
      return quantizeTrain(tape, model.quantize, model.config, f, { entropy: { temperature } });
    });
    await tape.backward(entropy!);
    const got = await numbers(gradient);
    for (let i = 0; i < features.length; i += 13) {
      const at = (step: number) => reference(features.map((value, k) => (k === i ? value + step : value)));
      const want = (at(1e-4) - at(-1e-4)) / 2e-4;
      assert.ok(Math.abs(got[i]! - want) < 1e-5, `${i}: ${got[i]} ${want}`);
    }
    tape.close();
    gradient.dispose();
    dispose();
  });

test('without codes the residuals are those of unquantized scales', async () => {
  const { model, params, f, dispose } = await setup({ quantResi: 0, patchNums: [1, SIDE] });
  params.bind(engine, model.quantize);
  const rows = await numbers(engine.scope(() => scaleResiduals(engine, model.quantize, model.config, f, false)));
  const features = await numbers(f);
  const size = SIDE * SIDE;
  for (let b = 0; b < B; b++)
    for (let c = 0; c < C; c++) {
      const values = Array.from({ length: size }, (_, p) => features[(b * size + p) * C + c]!);
      const mean = values.reduce((sum, value) => sum + value, 0) / size;
      assert.ok(Math.abs(rows[b * C + c]! - mean) < 1e-5);
      for (const [p, value] of values.entries()) assert.ok(Math.abs(rows[B * C + (b * size + p) * C + c]! - (value - mean)) < 1e-5);
    }
  dispose();
});

test('features of another size are refused', async () => {
  const { model, params, dispose } = await setup();
  params.bind(engine, model.quantize);
  using wrong = engine.ops.fill({ shape: [1, 3, 3, C] });
  assert.throws(() => quantizeTrain(frozenGraph(engine), model.quantize, model.config, wrong), /features are \[1,3,3,6\]/);
  dispose();
});

test.run();
