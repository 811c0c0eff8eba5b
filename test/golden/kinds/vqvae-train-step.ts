// One step of the whole VQVAE: reconstruction, losses, and the gradient of every parameter.
import { Tape } from '../../../ts/autograd/index.js';
import { quantizeTrain, VqvaeModel, vqvaeConfig } from '../../../ts/models/vqvae/index.js';
import { Parameters } from '../../../ts/nn/index.js';
import { vqvaeTraining } from '../../../ts/train/vqvae/index.js';
import { vqvaeLoss } from '../../../ts/train/vqvae/losses.js';
import { compareGradients } from '../grads.js';
import { compare, type Got, input, type KindRunner, read, toNchw, toNhwc } from '../kind.js';
import { configOf, union } from '../weights.js';

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
    return [...checks, ...(await compareGradients(c, (name) => params.grad(name)))];
  } finally {
    tape.close();
    model.dispose();
    params.dispose();
  }
};
