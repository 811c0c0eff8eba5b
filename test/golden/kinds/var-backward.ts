// The trainer's loss on the tokens of images, and the gradient of every parameter.
import { Tape } from '../../../ts/autograd/index.js';
import type { Engine, Tensor } from '../../../ts/index.js';
import { VarModel, varConfig } from '../../../ts/models/var/index.js';
import { Parameters } from '../../../ts/nn/index.js';
import { compareGradients } from '../grads.js';
import { type Check, compare, type GoldenCase, input, ints, type KindRunner, read, toNhwc } from '../kind.js';
import { configOf, loadVqvae, union } from '../weights.js';

interface Tokens {
  /** [B, L] of the scales that are trained. */
  readonly target: Tensor;
  readonly x: Tensor | null;
  readonly checks: Promise<Check[]>;
}

async function tokenize(c: GoldenCase, engine: Engine, progSi: number): Promise<Tokens> {
  const vqvae = await loadVqvae(c, engine);
  await vqvae.loadEncoder();
  const image = input(c, 'img_u8');
  const { data, shape } = toNhwc(image.data as Uint8Array, image.shape);
  const { target, x } = engine.scope(() => {
    const idxBl = vqvae.model.imgToIdxBl(engine, engine.ops.imageToUnit(engine.tensor(data, shape)));
    const trained = progSi < 0 ? idxBl : idxBl.slice(0, progSi + 1);
    const target = trained.reduce((a, b) => engine.ops.concat(a, b, { axis: 1 }));
    return { target, x: vqvae.model.idxBlToVarInput(engine, idxBl, progSi) };
  });
  const check = async (name: string, tensor: Tensor) => compare(c, name, await read(tensor));
  const checks = Promise.all([check('gt_BL', target), check('x_BLCv_wo_first_l', x!)]);
  checks.catch(() => {});
  vqvae.dispose();
  return { target, x, checks };
}

/** 1 / L for every token, times prog_wp for those of the last scale in progressive training. */
function weights(c: GoldenCase, model: VarModel, progSi: number, batch: number): Float32Array {
  const { beginEnds } = model;
  const [begin, end] = beginEnds[progSi < 0 ? beginEnds.length - 1 : progSi]!;
  const w = new Float32Array(end).fill(1 / model.length / batch);
  if (progSi >= 0) for (let i = begin; i < end; i++) w[i]! *= c.json.prog_wp as number;
  return w;
}

export const run: KindRunner = async (c, { engine }) => {
  const { prog_si: progSi, label_smooth: labelSmooth } = c.json.config as { prog_si: number; label_smooth: number };
  const { vocabSize, zChannels } = configOf(c, 'vae') as { vocabSize: number; zChannels: number };
  const model = new VarModel(varConfig({ ...configOf(c, 'var'), vocabSize, zChannels }));
  const params = await Parameters.create(engine, model.parameters(), await union(c, 'var'));
  const labels = ints(input(c, 'label'));
  const weight = weights(c, model, progSi, labels.length);
  const { target, x, checks } = await tokenize(c, engine, progSi);
  const tape = new Tape(engine);
  try {
    const { logits, loss } = tape.run(() => {
      params.bind(tape, model);
      const logits = model.forward(tape, labels, x, { progSi });
      const each = tape.ops.crossEntropy(logits, target, { labelSmooth });
      const weighted = tape.ops.binary(each, tape.tensor(weight, [1, weight.length]), { fn: 'mul' });
      return { logits, loss: tape.ops.sumTo(weighted, { shape: [1] }) };
    });
    const forward = Promise.all([read(logits), loss.read()]);
    forward.catch(() => {});
    await tape.backward(loss);
    const [gotLogits, gotLoss] = await forward;
    return [
      ...(await checks),
      compare(c, 'logits', gotLogits),
      compare(c, 'loss', { shape: [], data: gotLoss as Float32Array }),
      ...(await compareGradients(c, (name) => params.grad(name))),
    ];
  } finally {
    tape.close();
    for (const tensor of [target, x]) tensor?.dispose();
    model.dispose();
    params.dispose();
  }
};
