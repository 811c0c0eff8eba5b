// Elementwise functions, broadcasting and reductions.
import { ArgumentError } from '../../core/errors.js';
import type { Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import type { Backward, Rule } from '../rule.js';

export type UnaryFn = Parameters<Ops<Tensor>['unary']>[1]['fn'];
export type BinaryFn = Parameters<Ops<Tensor>['binary']>[2]['fn'];

export const unary: Rule = {
  saves: () => ['x'],
  backward: (b) => b.give('x', () => b.ops.unaryGrad(b.saved('x'), b.dy, { fn: b.attr<UnaryFn>('fn') })),
};

export const affine: Rule = {
  saves: (c) => (Number.isFinite(c.attr('lo')) || Number.isFinite(c.attr('hi')) ? ['x'] : []),
  backward: (b) => {
    const x = b.maybe('x');
    const [mul, add, lo, hi] = [b.attr('mul'), b.attr('add'), b.attr('lo'), b.attr('hi')];
    if (x) b.give('x', () => b.ops.affineGrad(x, b.dy, { mul, add, lo, hi }));
    else if (mul === 1) b.pass('x');
    else b.give('x', () => b.ops.affine(b.dy, { mul }));
  },
};

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((d, i) => d === b[i]);

const narrowed = (b: Backward, name: string, g: Tensor) => (same(g.shape, b.shape(name)) ? g : b.ops.sumTo(g, { shape: b.shape(name) }));

/** Where a is chosen over b as 1, where both are equal as 1/2. */
function chosen({ ops, saved }: { ops: Ops<Tensor>; saved: (name: string) => Tensor }, fn: 'max' | 'min'): Tensor {
  const [p, q] = fn === 'max' ? [saved('b'), saved('a')] : [saved('a'), saved('b')];
  const both = ops.binary(ops.binary(p, q, { fn: 'lt' }), ops.binary(p, q, { fn: 'le' }), { fn: 'add' });
  return ops.affine(both, { mul: 0.5 });
}

function choice(b: Backward, fn: 'max' | 'min'): void {
  const { ops, dy } = b;
  const mask = () => chosen({ ops, saved: (name) => b.saved(name) }, fn);
  b.give('a', () => narrowed(b, 'a', ops.binary(dy, mask(), { fn: 'mul' })));
  b.give('b', () => narrowed(b, 'b', ops.binary(dy, ops.affine(mask(), { mul: -1, add: 1 }), { fn: 'mul' })));
}

function sum(b: Backward, name: string): void {
  if (same(b.dy.shape, b.shape(name))) b.pass(name);
  else b.give(name, () => narrowed(b, name, b.dy));
}

export const binary: Rule = {
  constant: (c) => c.attr<BinaryFn>('fn') === 'lt' || c.attr<BinaryFn>('fn') === 'le',
  saves: (c) => {
    const fn = c.attr<BinaryFn>('fn');
    if (fn === 'add' || fn === 'sub') return [];
    if (fn === 'max' || fn === 'min') return ['a', 'b'];
    const needsB = c.needs('b');
    if (fn === 'mul') return [...(needsB ? ['a'] : []), ...(c.needs('a') ? ['b'] : [])];
    return needsB ? ['b', 'y'] : ['b'];
  },
  backward: (b) => {
    const { ops, dy } = b;
    const fn = b.attr<BinaryFn>('fn');
    const times = (name: string, by: string) => b.give(name, () => narrowed(b, name, ops.binary(dy, b.saved(by), { fn: 'mul' })));
    if (fn === 'add') {
      sum(b, 'a');
      sum(b, 'b');
    } else if (fn === 'sub') {
      sum(b, 'a');
      b.give('b', () => ops.affine(narrowed(b, 'b', dy), { mul: -1 }));
    } else if (fn === 'mul') {
      times('a', 'b');
      times('b', 'a');
    } else if (fn === 'div') {
      b.give('a', () => narrowed(b, 'a', ops.binary(dy, b.saved('b'), { fn: 'div' })));
      // d(a / b) / db = -y / b
      b.give('b', () => {
        const product = ops.binary(dy, b.saved('y'), { fn: 'mul' });
        return ops.affine(narrowed(b, 'b', ops.binary(product, b.saved('b'), { fn: 'div' })), { mul: -1 });
      });
    } else choice(b, fn as 'max' | 'min');
  },
};

export const reduce: Rule = {
  constant: (c) => c.attr<string>('fn') === 'argmax',
  saves: (c) => {
    const fn = c.attr<string>('fn');
    if (fn !== 'sum' && fn !== 'mean') throw new ArgumentError(`[reduce] ${fn} has no gradient, sum and mean have`);
    return [];
  },
  backward: (b) => {
    const { ops } = b;
    const shape = b.shape('x');
    const axis = b.attr('axis') < 0 ? b.attr('axis') + shape.length : b.attr('axis');
    b.give('x', () => {
      const row = b.engine.view(b.dy, 0, shape.with(axis, 1));
      const scaled = b.attr<string>('fn') === 'mean' ? ops.affine(row, { mul: 1 / shape[axis]! }) : row;
      return ops.broadcastTo(scaled, { shape });
    });
  },
};

export const sumTo: Rule = {
  saves: () => [],
  backward: (b) => b.give('x', () => b.ops.broadcastTo(b.dy, { shape: b.shape('x') })),
};

export const broadcastTo: Rule = {
  saves: () => [],
  backward: (b) => b.give('x', () => b.ops.sumTo(b.dy, { shape: b.shape('x') })),
};

/** The gradient is cast back where it is given; integers have none. */
export const cast: Rule = {
  constant: (c) => ['i32', 'u8'].includes(c.attr<string>('dtype')),
  saves: () => [],
  backward: (b) => b.pass('x'),
};
