import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine } from '../../../ts/engine/index.js';
import { VarModel, varConfig } from '../../../ts/models/var/index.js';
import { InitSource, Parameters, zeros } from '../../../ts/nn/index.js';
import { filterParams, noDecayRule, VAR_NOWD_KEYS } from '../../../ts/optim/index.js';

const test = suite('parameter groups');
let engine: Engine;
test.before(async () => {
  engine = await createEngine();
});
test.after(() => engine.close());

test('one dim, names that end in bias and names with a key have no decay', () => {
  const rule = noDecayRule();
  for (const [name, shape] of [
    ['norm.weight', [4]],
    ['head.bias', [4]],
    ['attn.q_bias', [2, 4]],
    ['pos_1LC', [1, 30, 8]],
    ['lvl_embed.weight', [4, 8]],
    ['blocks.0.ada_gss', [1, 1, 6, 8]],
    ['blocks.1.attn.scale_mul_1H11', [1, 2, 1, 1]],
    ['x.gamma_2', [2, 2]],
  ] as const)
    assert.ok(rule(name, shape), name);
  for (const [name, shape] of [
    ['head.weight', [4, 8]],
    ['class_emb.weight', [11, 8]],
    ['bias_net.weight', [4, 8]],
  ] as const)
    assert.not.ok(rule(name, shape), name);
  assert.ok(rule('x.w', [3]) && !noDecayRule(['w'])('v', [1, 1]) && noDecayRule(['w'])('x.w', [1, 1]));
  assert.ok(VAR_NOWD_KEYS.includes('cfg_uncond'));
});

test('groups come in the order in which the model meets them, buffers in none', async () => {
  const config = varConfig({ depth: 2, embedDim: 64, numHeads: 2, numClasses: 3, patchNums: [1, 2], vocabSize: 16, zChannels: 4 });
  const specs = new VarModel(config).parameters();
  using params = await Parameters.create(engine, specs, new InitSource(specs, 0), { noDecay: noDecayRule() });
  const [nd, d, ...more] = filterParams(params);
  assert.is(more.length, 0);
  assert.equal([nd!.wdSc, nd!.lrSc, d!.wdSc, d!.lrSc], [0, 1, 1, 1]);
  assert.equal(nd!.names.slice(0, 5), ['pos_start', 'pos_1LC', 'word_embed.bias', 'lvl_embed.weight', 'blocks.0.attn.scale_mul_1H11']);
  assert.equal(d!.names.slice(0, 3), ['word_embed.weight', 'class_emb.weight', 'blocks.0.attn.mat_qkv.weight']);
  assert.equal([...nd!.names, ...d!.names].sort(), [...params.names].sort());
  assert.not.ok(params.names.some((name) => /lvl_1L|zero_k_bias|attn_bias/.test(name)));
  assert.is(nd!.ranges.length + d!.ranges.length, params.ranges.length);
  assert.ok(nd!.ranges.every((range) => !range.decay) && d!.ranges.every((range) => range.decay));
});

test('a model that begins with a decaying weight numbers that group first', async () => {
  const specs = [
    { name: 'conv.weight', shape: [2, 2], init: zeros },
    { name: 'conv.bias', shape: [2], init: zeros },
  ];
  using params = await Parameters.create(engine, specs, new InitSource(specs, 0), { noDecay: noDecayRule() });
  assert.equal(
    filterParams(params).map(({ wdSc, names }) => [wdSc, ...names]),
    [
      [1, 'conv.weight'],
      [0, 'conv.bias'],
    ],
  );
});

test.run();
