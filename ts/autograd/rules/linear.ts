// Matrix products. The gradient of a packed weight has the layout of the weight itself.
import { ArgumentError } from '../../core/errors.js';
import type { Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import type { Backward, Call, Floating, Rule } from '../rule.js';

/** A weight that was packed elsewhere cannot be packed transposed, as the gradient of the input needs it. */
export function needPack(c: Call): void {
  if (c.packed('w')) return;
  if (c.needs('x'))
    throw new ArgumentError(`[${c.op}] w was not packed on this tape, so that x gets no gradient: bind the module to the tape's ops`);
}

/**
 * dy as the products of the backward pass take it: of the dtype of a 16-bit x, so that both factors of the weight gradient have it (what
 * gets too small for f16 the loss scale keeps). The caller disposes what is returned besides dy.
 */
export function productGradient(b: Backward): Tensor {
  const x = b.dtype('x');
  return x === 'f32' || b.dy.dtype === x ? b.dy : b.ops.cast(b.dy, { dtype: x });
}

/** Gradient of a bias that no product gives: summed in f32. */
export function biasGradient({ ops, dy, shape }: { ops: Backward['ops']; dy: Tensor; shape: readonly number[] }): Tensor {
  return ops.sumTo(dy.dtype === 'f32' ? dy : ops.cast(dy, { dtype: 'f32' }), { shape });
}

/** Of what lies between a product and its activation, gate or residual: that of a 16-bit input, otherwise of the result. */
function between(c: Call): Floating {
  const x = c.dtype('x');
  return x === 'f32' ? c.attr<Floating>('dtype') : x;
}

export const linear: Rule = {
  compose: (c) => {
    const act = c.attr<'none' | 'gelu' | 'silu'>('act');
    if (act === 'none' && !c.has('gate') && !c.has('residual')) return undefined;
    const optional = (name: string) => (c.has(name) ? c.tensor(name) : undefined);
    const dtype = c.attr<Floating>('dtype');
    const as = (ops: Ops<Tensor>, t: Tensor) => (t.dtype === dtype ? t : ops.cast(t, { dtype }));
    return (ops) => {
      let y = ops.linear(c.tensor('x'), c.tensor('w'), { n: c.attr('n'), bias: optional('bias'), dtype: between(c) });
      if (act !== 'none') y = ops.unary(y, { fn: act });
      const residual = optional('residual');
      if (c.has('gate')) return ops.gateResidual(y, c.tensor('gate'), { gateAt: c.attr('gateAt'), residual, dtype });
      return residual ? ops.binary(as(ops, residual), as(ops, y), { fn: 'add' }) : as(ops, y);
    };
  },
  saves: (c) => {
    needPack(c);
    if ((c.dtype('w') as string) === 'u8') throw new ArgumentError(`[${c.op}] int8 weights have no gradient: train with f32, f16 or bf16`);
    return [...(c.needs('w') ? ['x'] : []), ...(c.needs('x') ? ['w'] : [])];
  },
  backward: (b) => {
    const { ops } = b;
    const dy = productGradient(b);
    const dw = b.into('w');
    if (dw) ops.linearGradW(b.saved('x'), dy, dw, { dbias: b.into('bias') });
    else b.give('bias', () => biasGradient({ ops, dy: b.dy, shape: b.shape('bias') }));
    b.give('x', () => {
      const weight = ops.linearPack(b.saved('w'), { transpose: true, dtype: b.dtype('w') });
      return ops.linear(dy, weight, { n: b.shape('x').at(-1)!, dtype: b.dtype('x') });
    });
    if (dy !== b.dy) dy.dispose();
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
