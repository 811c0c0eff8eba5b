// The estimate of work against a count over the tensors of the models.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { VarModel, varConfig } from '../../ts/models/var/index.js';
import { VqvaeModel, vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { memoryOf, stateBytes, varCost, varForwardFlops, vqvaeForwardFlops } from '../../ts/train/cost.js';

/** Side of the feature map that a convolution writes, from its name. */
function sideOf(name: string, levels: number, latent: number): number {
  const down = /encoder\.down\.(\d+)\.(block|attn|downsample)/.exec(name);
  if (down) return (latent * 2 ** (levels - 1)) / 2 ** (Number(down[1]) + (down[2] === 'downsample' ? 1 : 0));
  const up = /decoder\.up\.(\d+)\.(block|attn|upsample)/.exec(name);
  if (up) return (latent * 2 ** (levels - 1)) / 2 ** (Number(up[1]) - (up[2] === 'upsample' ? 1 : 0));
  if (name === 'encoder.conv_in.weight' || name === 'decoder.conv_out.weight') return latent * 2 ** (levels - 1);
  return latent;
}

for (const config of [vqvaeConfig({}), vqvaeConfig({ ch: 32, chMult: [1, 2, 4], patchNums: [1, 2, 4, 8], vocabSize: 64, zChannels: 16 })])
  test(`convolutions of a VQVAE of width ${config.ch}: the count over its weights, attention and lookup`, () => {
    let counted = 0;
    for (const { name, shape } of new VqvaeModel(config).parameters()) {
      if (shape.length !== 4 || name.startsWith('quantize.')) continue;
      counted += 2 * shape.reduce((a, b) => a * b, 1) * sideOf(name, config.chMult.length, config.patchNums.at(-1)!) ** 2;
    }
    const estimate = vqvaeForwardFlops(config, 'both');
    assert.ok(estimate >= counted && estimate < 1.25 * counted, `${estimate / counted}`);
    assert.ok(vqvaeForwardFlops(config, 'encoder') < 0.6 * estimate);
  });

test('linear layers of a VAR: the count over its weights and attention', () => {
  const config = varConfig({ depth: 4 });
  const tokens = 680;
  let linear = 0;
  for (const { name, shape } of new VarModel(config).parameters()) {
    if (shape.length !== 2 || /class_emb|lvl_embed|embedding|word_embed/.test(name)) continue;
    linear += 2 * shape.reduce((a, b) => a * b, 1) * (/ada_lin|head_nm/.test(name) ? 1 : tokens);
  }
  const flops = varForwardFlops(config);
  assert.ok(flops > linear && flops < 1.25 * linear, `${flops / linear}`);
  const none = { stateBytes: 0, packedBytes: 0 };
  const plain = varCost(config, 2, none, {}).flopsPerIt;
  assert.is(plain, 6 * flops);
  assert.is(varCost(config, 2, none, { recompute: true }).flopsPerIt, 8 * flops);
  assert.ok(varCost(config, 2, none, { encoder: vqvaeConfig({}) }).flopsPerIt > plain);
});

test('bytes of the state', () => {
  assert.is(stateBytes(1000, { bits: 32, opt: 'adamw', ema: false }), 16_000);
  assert.is(stateBytes(1000, { bits: 32, opt: 'adamw', ema: true }), 20_000);
  assert.is(stateBytes(256_000, { bits: 8, opt: 'adamw', ema: false }), 256_000 * 10 + 8000);
  assert.is(stateBytes(1000, { bits: 32, opt: 'sgd', ema: false }), 12_000);
});

test('the precision halves the copies of the weights, not the state', () => {
  const memory = (precision: 'f32' | 'f16' | 'bf16') => memoryOf(1000, { bits: 32, opt: 'adamw', ema: false, precision });
  assert.equal(memory('f32'), { stateBytes: 16_000, packedBytes: 4000 });
  assert.equal(memory('f16'), { stateBytes: 16_000, packedBytes: 2000 });
  assert.equal(memory('bf16'), memory('f16'));
});

test.run();
