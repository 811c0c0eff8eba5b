import { gradientFactor, parameters, setting } from './adam.js';
import { type Args, at, make, type Outputs } from './kit.js';

export default function sgd(c: Args): Outputs {
  const grad = c.ten('grad');
  const velocity0 = c.opt('velocity');
  const master = c.opt('master');
  const factor = gradientFactor(c);
  const kept = { param: c.ten('param'), ...(velocity0 && { velocity: velocity0 }), ...(master && { master }) };
  if (factor === undefined) return { tensors: kept };
  const gradient = (i: number, p: number): number => at(grad, i) * factor + setting(c, 'weightDecay') * p;
  const velocity = (i: number, p: number): number => c.num('momentum') * (velocity0 ? at(velocity0, i) : 0) + gradient(i, p);
  const { tensors, margin } = parameters(c, (i, p) => {
    const v = velocity(i, p);
    return p - setting(c, 'lr') * (c.flag('nesterov') ? gradient(i, p) + c.num('momentum') * v : v);
  });
  if (!velocity0) return { tensors, margin };
  const before = master ?? c.ten('param');
  return { tensors: { ...tensors, velocity: make(velocity0.shape, (i) => velocity(i, at(before, i))) }, margin };
}
