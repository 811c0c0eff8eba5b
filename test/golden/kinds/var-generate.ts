// Autoregressive generation: logits of both halves, tokens, f_hat, next map and image of every scale.
import { type Check, compare, floats, type GoldenCase, type Got, input, ints, type KindRunner, outputs, Taps, toNchw } from '../kind.js';
import { loadVar, loadVqvae } from '../weights.js';

const MAPS = /(^image|\/(h|f_hat|next_token_map))$/;

/** 1 where a logit survives truncation. */
const kept = ({ data, shape }: Got): Got => ({
  shape,
  data: Array.from(data as ArrayLike<number>, (v) => (v === Number.NEGATIVE_INFINITY ? 0 : 1)),
});

async function tapped(taps: Taps, name: string): Promise<Got> {
  if (name.endsWith('/kept')) return kept(await taps.get(name.replace(/kept$/, 'truncated')));
  const got = await taps.get(name);
  return MAPS.test(name) ? toNchw(got) : got;
}

/** The drawn tokens, by the case where they are certain. */
function resultTokens(c: GoldenCase, tokens: readonly Int32Array[]): Check[] {
  return tokens.flatMap((map, si) => {
    const want = c.io.get(`scale${si}/idx`);
    return want ? [compare(c, `scale${si}/idx`, { data: map, shape: want.shape }, `scale${si}/idx:result`)] : [];
  });
}

export const run: KindRunner = async (c, { engine }) => {
  const {
    cfg,
    top_k: topK,
    top_p: topP,
    more_smooth: moreSmooth = false,
  } = c.json.config as { cfg: number; top_k: number; top_p: number; more_smooth?: boolean };
  const vqvae = await loadVqvae(c, engine);
  const model = await loadVar(c, engine, vqvae);
  try {
    const taps = new Taps();
    const noise = moreSmooth ? model.config.patchNums.map((_, si) => floats(input(c, `scale${si}/gumbel`))) : undefined;
    const { tokens } = await model.generate({
      labels: [...ints(input(c, 'label'))],
      seed: 0,
      cfg,
      topK,
      topP,
      moreSmooth,
      noise,
      tap: taps.tap,
    });
    const checks: Check[] = [];
    for (const name of outputs(c)) checks.push(compare(c, name, await tapped(taps, name)));
    return [...checks, ...resultTokens(c, tokens)];
  } finally {
    model.dispose();
    vqvae.dispose();
  }
};
