// Matrix products. The gradient of a packed weight has the layout of the weight itself.
import { ArgumentError } from '../../core/errors.js';
import type { Call, Rule } from '../rule.js';

/** A weight that was packed elsewhere cannot be packed transposed, as the gradient of the input needs it. */
export function needPack(c: Call): void {
  if (c.packed('w')) return;
  if (c.needs('x'))
    throw new ArgumentError(`[${c.op}] w was not packed on this tape, so that x gets no gradient: bind the module to the tape's ops`);
}

export const linear: Rule = {
  compose: (c) => {
    const act = c.attr<'none' | 'gelu' | 'silu'>('act');
    if (act === 'none' && !c.has('gate') && !c.has('residual')) return undefined;
    const optional = (name: string) => (c.has(name) ? c.tensor(name) : undefined);
    return (ops) => {
      let y = ops.linear(c.tensor('x'), c.tensor('w'), { n: c.attr('n'), bias: optional('bias') });
      if (act !== 'none') y = ops.unary(y, { fn: act });
      const residual = optional('residual');
      if (c.has('gate')) return ops.gateResidual(y, c.tensor('gate'), { gateAt: c.attr('gateAt'), residual });
      return residual ? ops.binary(residual, y, { fn: 'add' }) : y;
    };
  },
  saves: (c) => {
    needPack(c);
    return [...(c.needs('w') ? ['x'] : []), ...(c.needs('x') ? ['w'] : [])];
  },
  backward: (b) => {
    const { ops, dy } = b;
    const dw = b.into('w');
    if (dw) ops.linearGradW(b.saved('x'), dy, dw, { dbias: b.into('bias') });
    else b.give('bias', () => ops.sumTo(dy, { shape: b.shape('bias') }));
    b.give('x', () => ops.linear(dy, ops.linearPack(b.saved('w'), { transpose: true }), { n: b.shape('x').at(-1)! }));
  },
};

export const matmul: Rule = {
  saves: (c) => [...(c.needs('b') ? ['a'] : []), ...(c.needs('a') ? ['b'] : [])],
  backward: (g) => {
    const { ops, dy } = g;
    const alpha = g.attr('alpha');
    const transB = g.attr<boolean>('transB');
    g.give('a', () => ops.matmul(dy, g.saved('b'), { alpha, transB: !transB }));
    g.give('b', () => {
      const turned = ops.permute(transB ? dy : g.saved('a'), { order: [0, 2, 1] });
      return ops.matmul(turned, transB ? g.saved('a') : dy, { alpha });
    });
  },
};
