// driver: alone
// What the tape holds: activations until the backward pass has consumed them, with checkpoints only the inputs of the parts.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../../ts/autograd/index.js';
import { createEngine, type Engine, type Graph, type Tensor } from '../../../ts/engine/index.js';

const memory = suite('memory');
let engine: Engine;

memory.before.each(async () => {
  engine = await createEngine({ threads: 1 });
});
memory.after.each(async () => {
  await engine.close();
});

const SIZE = 1 << 18;
const BYTES = 4 * SIZE;
const LAYERS = 24;

const live = async (): Promise<number> => {
  await engine.flush();
  return engine.memory().liveBytes;
};

/** One layer: tanh(x)^2, of which the inputs of both functions are kept. */
const layer = (g: Graph, x: Tensor): Tensor => g.scope(() => g.ops.unary(g.ops.unary(x, { fn: 'tanh' }), { fn: 'square' }));

async function train(checkpointed: boolean): Promise<{ forward: number; peak: number; end: number; grad: Float32Array }> {
  const x = engine.ops.fill({ shape: [SIZE], value: 0.7 });
  const grad = engine.ops.fill({ shape: [SIZE] });
  const start = await live();
  const tape = new Tape(engine);
  const loss = tape.run(() => {
    tape.watch(x, grad);
    let h = x;
    for (let i = 0; i < LAYERS; i++) {
      const next = checkpointed ? tape.checkpoint([h], (g, [input]) => layer(g, input!)) : layer(tape, h);
      if (h !== x) h.dispose();
      h = next;
    }
    const total = tape.ops.sumTo(h, { shape: [1] });
    h.dispose();
    return total;
  });
  const forward = (await live()) - start;
  let peak = 0;
  const watchMemory = setInterval(() => {
    peak = Math.max(peak, engine.memory().liveBytes - start);
  }, 1);
  await tape.backward(loss);
  const end = (await live()) - start;
  clearInterval(watchMemory);
  tape.close();
  const values = Float32Array.from((await grad.read()) as Float32Array);
  x.dispose();
  grad.dispose();
  return { forward, peak: Math.max(peak, engine.memory().peakBytes - start), end, grad: values };
}

memory('activations go as the backward pass consumes them', async () => {
  const { forward, peak, end } = await train(false);
  // x is the caller's; of every layer the input of square and, except for the first, that of tanh.
  assert.ok(forward >= (2 * LAYERS - 1) * BYTES && forward < (2 * LAYERS + 1) * BYTES, `${forward / BYTES} activations are kept`);
  assert.ok(peak <= forward + 4 * BYTES, `the peak is ${peak / BYTES} tensors, ${forward / BYTES} after the forward pass`);
  assert.ok(end < BYTES, `${end} bytes are left`);
  await engine.flush();
  assert.ok(engine.memory().liveBytes < BYTES, 'all is released');
});

memory('checkpoints keep the inputs of their parts alone, and give the same bits', async () => {
  const plain = await train(false);
  await engine.close();
  engine = await createEngine({ threads: 1 });
  const checkpointed = await train(true);
  assert.ok(checkpointed.forward < (LAYERS + 1) * BYTES, `${checkpointed.forward / BYTES} activations are kept`);
  assert.ok(checkpointed.peak <= (LAYERS + 6) * BYTES, `the peak is ${checkpointed.peak / BYTES} tensors`);
  assert.ok(checkpointed.end < BYTES, `${checkpointed.end} bytes are left`);
  assert.equal(checkpointed.grad, plain.grad);
});

memory('closing a tape without a backward pass releases everything', async () => {
  const x = engine.ops.fill({ shape: [SIZE], value: 0.7 });
  const before = [await live(), engine.memory().tensors];
  {
    using tape = new Tape(engine);
    tape.run(() => {
      tape.retain(x);
      for (let i = 0; i < 3; i++) tape.checkpoint([layer(tape, x)], (g, [input]) => layer(g, input!));
    });
  }
  assert.equal([await live(), engine.memory().tensors], before);
});

memory.run();
