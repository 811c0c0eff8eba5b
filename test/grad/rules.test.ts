// driver: timeout=300
// The rule of every op against central differences of its float64 reference definition; the same twice, added up.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../ts/autograd/index.js';
import { RULES } from '../../ts/autograd/rules/index.js';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { CASES } from './cases.js';
import { byDifferences, byTape, distance, label } from './kit.js';

const rules = suite('rules');
let engine: Engine;

rules.before(async () => {
  engine = await createEngine({ threads: 2 });
});
rules.after(async () => {
  await engine.close();
});

rules('every rule has cases', () => {
  const tested = new Set(CASES.map((c) => c.op));
  assert.equal(
    Object.keys(RULES).filter((op) => !tested.has(op)),
    ['cast'],
  );
});

rules('cast passes gradients on as f32', async () => {
  using tape = new Tape(engine);
  const { x, loss } = tape.run(() => {
    const x = tape.tensor(Float32Array.of(0.1, -2, 3), [1, 3]);
    tape.retain(x);
    const wide = tape.ops.cast(tape.ops.cast(x, { dtype: 'bf16' }), { dtype: 'f32' });
    const y = tape.ops.binary(wide, tape.tensor(Float32Array.of(1, 2, 3), [1, 3]), { fn: 'mul' });
    assert.is(tape.ops.cast(x, { dtype: 'i32' }).dtype, 'i32');
    return { x, loss: tape.ops.sumTo(y, { shape: [1] }) };
  });
  await tape.backward(loss);
  assert.equal([...(await tape.gradOf(x)!.read())], [1, 2, 3]);
});

for (const op of new Set(CASES.map((c) => c.op))) {
  rules(op, async () => {
    for (const c of CASES.filter((c) => c.op === op)) {
      const { gradients, output, weight } = await byDifferences(c);
      const got = await byTape(engine, c, weight);
      const tol = c.tol ?? 2e-5;
      const forward = distance(got.output, output.data);
      assert.ok(forward <= tol, `${label(c)}: the output differs by ${forward.toExponential(1)}`);
      assert.ok(Object.keys(gradients).length > 0, `${label(c)}: no input is trained`);
      const twice = await byTape(engine, c, weight, undefined, 2);
      for (const [name, want] of Object.entries(gradients)) {
        const error = distance(got.gradients[name]!, want);
        assert.ok(error <= tol, `${label(c)}: the gradient of ${name} differs by ${error.toExponential(1)}`);
        const doubled = distance(
          twice.gradients[name]!,
          got.gradients[name]!.map((v) => 2 * v),
        );
        assert.ok(doubled <= 1e-6, `${label(c)}: two passes give ${name} twice the gradient up to ${doubled.toExponential(1)}`);
      }
    }
  });
}

rules.run();
