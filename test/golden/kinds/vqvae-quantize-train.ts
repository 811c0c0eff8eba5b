// Training forward of the quantizer alone: f_hat, loss, gradients at f, codebook and Phi; running hit counts and usages of three calls.
import { Tape } from '../../../ts/autograd/index.js';
import type { Tensor } from '../../../ts/index.js';
import { quantizeTrain, VqvaeModel, vqvaeConfig } from '../../../ts/models/vqvae/index.js';
import { Parameters } from '../../../ts/nn/index.js';
import { CodebookUsage } from '../../../ts/train/vqvae/index.js';
import { type Check, compare, floats, type GoldenCase, input, type KindRunner, outputs, read, toNchw, toNhwc } from '../kind.js';
import { configOf, union } from '../weights.js';

interface Bench {
  readonly c: GoldenCase;
  readonly model: VqvaeModel;
  readonly params: Parameters;
}

function stored(c: GoldenCase, name: string): { data: Float32Array; shape: number[] } {
  const tensor = input(c, name);
  return toNhwc(floats(tensor), tensor.shape);
}

async function gradients({ c, model, params }: Bench): Promise<Check[]> {
  const { engine } = params;
  const [fIn, wIn] = [stored(c, 'f'), stored(c, 'w')];
  const gradF = engine.ops.fill({ shape: fIn.shape });
  const f = engine.tensor(fIn.data, fIn.shape);
  const tape = new Tape(engine);
  try {
    const run = tape.run(() => {
      tape.watch(f, gradF);
      params.bind(tape, model.quantize);
      const { ops } = tape;
      const q = quantizeTrain(tape, model.quantize, model.config, f);
      const w = engine.tensor(wIn.data, wIn.shape);
      const dot = ops.reduce(ops.reshape(ops.binary(q.fHat, w, { fn: 'mul' }), { shape: [1, f.size] }), { fn: 'sum', axis: 1 });
      return { ...q, loss: ops.binary(q.vqLoss, dot, { fn: 'add' }) };
    });
    const [fHat, vqLoss, loss] = await Promise.all([run.fHat, run.vqLoss, run.loss].map(read));
    await tape.backward(run.loss);
    const scalar = (name: string, got: typeof loss) => compare(c, name, { shape: [], data: got!.data });
    const checks = [compare(c, 'f_hat', toNchw(fHat!)), scalar('vq_loss', vqLoss), scalar('loss', loss)];
    checks.push(compare(c, 'grad_f', toNchw(await read(gradF))));
    for (const name of outputs(c))
      if (name.startsWith('grad/')) checks.push(compare(c, name, await read(params.grad(name.replace('grad/', 'quantize.')))));
    return checks;
  } finally {
    tape.close();
    for (const tensor of [f, gradF]) tensor.dispose();
  }
}

/** The inputs of the three calls: f, f rolled by one along the batch, f rolled by two times 0.5. */
function calls(c: GoldenCase): Float32Array[] {
  const { data, shape } = stored(c, 'f');
  const size = data.length / shape[0]!;
  const rolled = (by: number) => Float32Array.from(data, (_, i) => data[(i - by * size + data.length) % data.length]!);
  return [data, rolled(1), rolled(2).map((value) => value * 0.5)];
}

async function hits({ c, model, params }: Bench): Promise<Check[]> {
  const { engine } = params;
  const { patchNums, vocabSize } = model.config;
  const usage = new CodebookUsage(patchNums, vocabSize);
  const { shape } = stored(c, 'f');
  const checks: Check[] = [];
  for (const [i, data] of calls(c).entries()) {
    const tape = new Tape(engine);
    const tokens: Tensor = tape.run(() => {
      params.bind(tape, model.quantize);
      return quantizeTrain(tape, model.quantize, model.config, engine.tensor(data, shape)).tokens;
    });
    usage.record((await tokens.read()) as Int32Array, i);
    tape.close();
    checks.push(compare(c, `ema/${i + 1}`, { shape: [patchNums.length, vocabSize], data: usage.ema }));
    const vectors = shape[0]! * shape[1]! * shape[2]!;
    checks.push(compare(c, `usages/${i + 1}`, { shape: [patchNums.length], data: usage.usages(vectors) }));
  }
  return checks;
}

export const run: KindRunner = async (c, { engine }) => {
  const model = new VqvaeModel(vqvaeConfig(configOf(c, 'vae')));
  const params = await Parameters.create(engine, model.parameters(), await union(c, 'vae'));
  try {
    const bench = { c, model, params };
    return [...(await gradients(bench)), ...(await hits(bench))];
  } finally {
    model.dispose();
    params.dispose();
  }
};
