// Area, bicubic and nearest resampling, and the gradient with respect to the input.
import { Tape } from '../../../ts/autograd/index.js';
import { compare, floats, type GoldenCase, input, type KindRunner, read, toNchw, toNhwc } from '../kind.js';

interface Resampling {
  readonly key: string;
  readonly mode: 'area' | 'bicubic' | 'nearest';
  readonly out: readonly [number, number];
}

const maps = (c: GoldenCase, name: string) => {
  const stored = input(c, name);
  return toNhwc(floats(stored), stored.shape);
};

export const run: KindRunner = async (c, { engine }) => {
  const checks = [];
  for (const { key, mode, out } of c.json.cases as readonly Resampling[]) {
    using tape = new Tape(engine);
    const source = maps(c, `${key}/x`);
    const slope = c.io.has(`${key}/grad_y`) ? maps(c, `${key}/grad_y`) : null;
    const { x, y, loss } = tape.run(() => {
      const x = tape.tensor(source.data, source.shape);
      tape.retain(x);
      const y = tape.ops.interpolate(x, { mode, outH: out[0], outW: out[1] });
      const dy = slope && tape.tensor(slope.data, slope.shape);
      return { x, y, loss: dy && tape.ops.sumTo(tape.ops.binary(y, dy, { fn: 'mul' }), { shape: [1] }) };
    });
    checks.push(compare(c, `${key}/y`, toNchw(await read(y))));
    if (!loss) continue;
    await tape.backward(loss);
    checks.push(compare(c, `${key}/grad_x`, toNchw(await read(tape.gradOf(x)!))));
  }
  return checks;
};
