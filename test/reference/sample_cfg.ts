import cfgMix from './cfg_mix.js';
import { Args, type Outputs, only, type Ten } from './kit.js';
import multinomial from './multinomial.js';
import softmax from './softmax.js';
import truncateLogits from './truncate_logits.js';

export default function sampleCfg(c: Args): Outputs {
  const mixed = cfgMix(c).tensors.y as Ten;
  const cut = truncateLogits(new Args({ ...c.inputs, logits: mixed }, {}));
  const probs = softmax(new Args({ x: cut.tensors.y }, { scale: 1 })).tensors.y as Ten;
  const drawn = multinomial(new Args({ ...c.inputs, probs }, c.attrs));
  return only('idx', drawn.tensors.idx as Ten, Math.min(cut.margin as number, drawn.margin as number));
}
