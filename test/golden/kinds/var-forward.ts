// Teacher-forced transformer: embeddings, every block, logits.
import { type Check, compare, floats, input, ints, type KindRunner, outputs, Taps, take } from '../kind.js';
import { loadVar, loadVqvae } from '../weights.js';

export const run: KindRunner = async (c, { engine }) => {
  const vqvae = await loadVqvae(c, engine);
  const model = await loadVar(c, engine, vqvae);
  const checks: Check[] = [];
  const stored = input(c, 'x_BLCv_wo_first_l');
  const x = engine.tensor(floats(stored), stored.shape);
  try {
    const idxBl = vqvae.config.patchNums.map((_, si) => engine.tensor(ints(input(c, `idx/${si}`)), input(c, `idx/${si}`).shape));
    checks.push({ ...compareInput(stored, await take(vqvae.idxBlToVarInput(idxBl)!)) });
    for (const idx of idxBl) idx.dispose();
    for (const progSi of c.json.config.prog_si as readonly number[]) {
      const taps = new Taps();
      const logits = model.forward(ints(input(c, 'label')), x, { progSi, tap: taps.tap });
      const prefix = `prog${progSi}/`;
      checks.push(compare(c, `${prefix}logits`, await take(logits)));
      for (const name of outputs(c)) {
        if (!name.startsWith(prefix) || name === `${prefix}logits`) continue;
        const got = await taps.get(name.slice(prefix.length));
        checks.push(compare(c, name, name.endsWith('/cond') ? { data: got.data, shape: c.io.get(name)!.shape } : got));
      }
    }
  } finally {
    x.dispose();
    model.dispose();
    vqvae.dispose();
  }
  return checks;
};

/** idxBlToVarInput makes the stored input itself, up to rounding. */
function compareInput(want: ReturnType<typeof input>, got: Awaited<ReturnType<typeof take>>): Check {
  const data = floats(want);
  let error = 0;
  for (let i = 0; i < data.length; i++) error = Math.max(error, Math.abs(data[i]! - Number(got.data[i])));
  const tolerance = 2e-5;
  return {
    tensor: 'x_BLCv_wo_first_l:idxBlToVarInput',
    maxAbsErr: error,
    tolerance,
    ok: got.data.length === data.length && error <= tolerance,
  };
}
