// Fused ops against their unfused compositions: values and gradients, both on a tape.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { unfused } from '../../ts/autograd/index.js';
import { createEngine, type Engine, type Tensor } from '../../ts/engine/index.js';
import { CASES } from './cases.js';
import { byDifferences, byTape, distance, type GradCase, label, type Run } from './kit.js';

const fused = suite('fused');
let engine: Engine;

fused.before(async () => {
  engine = await createEngine({ threads: 2 });
});
fused.after(async () => {
  await engine.close();
});

type Inputs = Readonly<Record<string, Tensor>>;
type Options = Readonly<Record<string, unknown>>;

/** A composition takes attributes and optional inputs together, as its op does. */
const options = (inputs: Inputs, c: GradCase, names: readonly string[]): Options => ({
  ...c.attrs,
  ...Object.fromEntries(names.filter((name) => inputs[name]).map((name) => [name, inputs[name]])),
});

const list = (c: GradCase, name: string) => c.inputs[name]?.ints;

const COMPOSITIONS: Readonly<Record<string, Run>> = {
  linear: (g, t, c) => unfused.linear(g, t.x!, t.w!, options(t, c, ['bias', 'gate', 'residual']) as unknown as unfused.LinearOptions),
  conv2d: (g, t, c) => unfused.conv2d(g, t.x!, t.w!, options(t, c, ['bias', 'residual']) as unknown as unfused.ConvOptions),
  gate_residual: (g, t, c) => unfused.gateResidual(g, t.x!, t.gate!, options(t, c, ['residual'])),
  layer_norm: (g, t, c) => unfused.layerNorm(g, t.x!, options(t, c, ['mod'])),
  group_norm: (g, t, c) => unfused.groupNorm(g, t.x!, t.gamma!, t.beta!, options(t, c, [])),
  attention: (g, t, c) =>
    unfused.attention(g, t.qkv!, {
      ...(options(t, c, ['scaleMul']) as unknown as unfused.AttentionOptions),
      ...(list(c, 'visible') && { visible: list(c, 'visible')! }),
    }),
  softmax: (g, t, c) => unfused.softmax(g, t.x!, options(t, c, [])),
  l2_normalize: (g, t, c) => unfused.l2Normalize(g, t.x!, options(t, c, [])),
  cross_entropy: (g, t, c) => unfused.crossEntropy(g, t.logits!, list(c, 'target')!, options(t, c, [])),
  pair_loss: (g, t, c) => unfused.pairLoss(g, t.x!, t.y!, options(t, c, []) as { kind: 'l1' | 'l2' }),
};

// Rounding of about ten ops in a row.
const TOLERANCE = 3e-5;

for (const [op, composition] of Object.entries(COMPOSITIONS)) {
  fused(op, async () => {
    const cases = CASES.filter((c) => c.op === op && (c.attrs?.algo ?? 'direct') === 'direct');
    assert.ok(cases.length > 0, 'no cases');
    for (const c of cases) {
      const { weight } = await byDifferences(c);
      const [one, many] = [await byTape(engine, c, weight), await byTape(engine, c, weight, composition)];
      const forward = distance(one.output, many.output);
      assert.ok(forward <= TOLERANCE, `${label(c)}: the output differs by ${forward.toExponential(1)}`);
      for (const [name, want] of Object.entries(many.gradients)) {
        const error = distance(one.gradients[name]!, want);
        assert.ok(error <= TOLERANCE, `${label(c)}: the gradient of ${name} differs by ${error.toExponential(1)}`);
      }
    }
  });
}

fused.run();
