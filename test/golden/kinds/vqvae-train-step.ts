// One step of the whole VQVAE: reconstruction, losses, and the gradient of every parameter.
import { Tape } from '../../../ts/autograd/index.js';
import { quantizeTrain, VqvaeModel, vqvaeConfig } from '../../../ts/models/vqvae/index.js';
import { Parameters } from '../../../ts/nn/index.js';
import { vqvaeTraining } from '../../../ts/train/vqvae/index.js';
import { vqvaeLoss } from '../../../ts/train/vqvae/losses.js';
import { type Check, compare, type GoldenCase, type Got, input, type KindRunner, outputs, read, toNchw, toNhwc } from '../kind.js';
import { configOf, union } from '../weights.js';

const SAMPLES = 16;

async function gradients(c: GoldenCase, params: Parameters): Promise<Check[]> {
  const names = c.json.grad_names as readonly string[];
  const [norms, samples] = [new Float32Array(names.length), new Float32Array(names.length * SAMPLES)];
  for (const [i, name] of names.entries()) {
    const grad = (await params.grad(name).read()) as Float32Array;
    norms[i] = Math.sqrt(grad.reduce((sum, value) => sum + value * value, 0));
    for (let k = 0; k < SAMPLES; k++) samples[i * SAMPLES + k] = grad[Math.floor((k * grad.length) / SAMPLES)]!;
  }
  const checks = [
    compare(c, 'grad_norms', { shape: [names.length], data: norms }),
    compare(c, 'grad_samples', { shape: [names.length, SAMPLES], data: samples }),
  ];
  for (const name of outputs(c)) if (name.startsWith('grad/')) checks.push(compare(c, name, await read(params.grad(name.slice(5)))));
  return checks;
}

export const run: KindRunner = async (c, { engine }) => {
  const model = new VqvaeModel(vqvaeConfig(configOf(c, 'vae')));
  const params = await Parameters.create(engine, model.parameters(), await union(c, 'vae'));
  const settings = vqvaeTraining({ recon: c.json.config.recon_loss === 'l1' ? { l1: 1 } : { l2: 1 } });
  const image = input(c, 'img_u8');
  const { data, shape } = toNhwc(image.data as Uint8Array, image.shape);
  const tape = new Tape(engine);
  try {
    const { rec, loss, parts } = tape.run(() => {
      params.bind(tape, model);
      const x = engine.ops.imageToUnit(engine.tensor(data, shape));
      const q = quantizeTrain(tape, model.quantize, model.config, model.encode(tape, x));
      const rec = model.decode(tape, q.fHat);
      return { rec, ...vqvaeLoss(tape, settings, x, rec, q) };
    });
    const forward = Promise.all([rec, parts.get('rec')!, parts.get('vq')!, loss].map(read));
    forward.catch(() => {});
    await tape.backward(loss);
    const [image2, ...scalars] = (await forward) as [Got, ...Got[]];
    const checks = [compare(c, 'rec', toNchw(image2))];
    for (const [i, name] of ['rec_loss', 'vq_loss', 'loss'].entries()) checks.push(compare(c, name, { shape: [], data: scalars[i]!.data }));
    return [...checks, ...(await gradients(c, params))];
  } finally {
    tape.close();
    model.dispose();
    params.dispose();
  }
};
