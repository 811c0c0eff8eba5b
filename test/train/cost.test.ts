// The estimate of work against a count over the tensors of the models.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { VarModel, varConfig } from '../../ts/models/var/index.js';
import { VqvaeModel, vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { stateBytes, varCost, varForwardFlops, vqvaeCost, vqvaeForwardFlops } from '../../ts/train/cost.js';
import type { Task } from '../../ts/train/task.js';
import { infoAt, makeTask, PATCH_NUMS, tokenBatch, VOCAB } from './var-kit.js';
import { pictures, TINY, tinyTask } from './vqvae-kit.js';

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
  const how = { precision: 'f32', recompute: false } as const;
  const plain = varCost(config, 2, 0, how).flopsPerIt;
  assert.is(plain, 6 * flops);
  assert.is(varCost(config, 2, 0, { ...how, recompute: true }).flopsPerIt, 8 * flops);
  assert.ok(varCost(config, 2, 0, { ...how, encoder: vqvaeConfig({}) }).flopsPerIt > plain);
});

test('bytes of the state', () => {
  assert.is(stateBytes(1000, { bits: 32, opt: 'adamw', ema: false }), 16_000);
  assert.is(stateBytes(1000, { bits: 32, opt: 'adamw', ema: true }), 20_000);
  assert.is(stateBytes(256_000, { bits: 8, opt: 'adamw', ema: false }), 256_000 * 10 + 8000);
  assert.is(stateBytes(1000, { bits: 32, opt: 'sgd', ema: false }), 12_000);
});

for (const precision of ['f32', 'bf16'] as const)
  for (const recompute of [false, true])
    test(`activations of ${precision} ${recompute ? 'with' : 'without'} checkpointing: about what a step takes`, async () => {
      // A step alone, so that what it keeps is the most it takes.
      const measure = async (make: (engine: Engine) => Promise<Task<never>>, batch: unknown): Promise<number> => {
        await using engine = await createEngine({ threads: 1, maxCachedBytes: 0 });
        const task = await make(engine);
        await engine.flush();
        const before = engine.memory().liveBytes;
        await task.step(batch as never, infoAt(0));
        const taken = engine.memory().peakBytes - before;
        task.dispose();
        return taken;
      };
      const how = { precision, recompute };
      const options = { precision, checkpointing: recompute };
      const size = { depth: 4, embedDim: 128, numHeads: 2, numClasses: 5 };
      const ofVar = await measure((engine) => makeTask(engine, { ...options, config: size }) as never, tokenBatch(32));
      const config = varConfig({ ...size, patchNums: PATCH_NUMS, vocabSize: VOCAB, zChannels: 8 });
      const shares = [varCost(config, 32, 0, how).activationBytes / ofVar];
      const ofVqvae = await measure((engine) => tinyTask(engine, { ...options, kmeans: false }) as never, pictures(4));
      shares.push(vqvaeCost(vqvaeConfig(TINY), 4, 0, how).activationBytes / ofVqvae);
      // Besides, gradients of a block, packed weights, and the VQVAE's losses and quantizer.
      for (const share of shares) assert.ok(share > (recompute ? 0.5 : 0.8) && share < (recompute ? 1.25 : 1.1), shares.join());
    });

test.run();
