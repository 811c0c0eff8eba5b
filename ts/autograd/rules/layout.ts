// Ops that move values: their gradients move them back.
import { infer } from '../../core/shapes.js';
import { OPS } from '../../gen/ops.js';
import type { Backward, Rule } from '../rule.js';

/** No copy: a tape refuses to write recorded tensors in place. */
export const reshape: Rule = {
  execute: (c) => {
    const shape = c.attr<readonly number[]>('shape');
    infer(OPS.reshape, [c.tensor('x')], { shape });
    return c.engine.view(c.tensor('x'), 0, shape);
  },
  saves: () => [],
  backward: (b) => b.pass('x'),
};

export const permute: Rule = {
  saves: () => [],
  backward: (b) => {
    const order = b.attr<readonly number[]>('order');
    b.give('x', () => b.ops.permute(b.dy, { order: order.map((_, i) => order.indexOf(i)) }));
  },
};

/** Elements per index of an axis, or undefined where entries along it do not lie in one run of memory. */
function stride(shape: readonly number[], axis: number): number | undefined {
  const size = (dims: readonly number[]) => dims.reduce((n, d) => n * d, 1);
  return size(shape.slice(0, axis)) === 1 ? size(shape.slice(axis + 1)) : undefined;
}

export const slice: Rule = {
  saves: () => [],
  backward: (b) => {
    if (!b.needs('x')) return;
    const [shape, axis, start] = [b.shape('x'), b.attr('axis'), b.attr('start')];
    const step = stride(shape, axis);
    if (step !== undefined) {
      const part = b.engine.view(b.intoOwn('x')!, start * step, b.dy.shape);
      b.ops.accumulate(part, b.dy);
      part.dispose();
      return;
    }
    b.give('x', () => {
      const dx = b.ops.fill({ shape: [...shape], dtype: b.dtype('x') });
      b.ops.writeSlice(dx, b.dy, { axis, start });
      return dx;
    });
  },
};

function part(b: Backward, name: string, start: number): void {
  if (!b.needs(name)) return;
  const axis = b.attr('axis');
  const step = stride(b.dy.shape, axis);
  if (step !== undefined) b.pass(name, start * step);
  else b.give(name, () => b.ops.slice(b.dy, { axis, start, size: b.shape(name)[axis]! }));
}

export const concat: Rule = {
  saves: () => [],
  backward: (b) => {
    part(b, 'a', 0);
    part(b, 'b', b.shape('a')[b.attr('axis')]!);
  },
};

export const embedding: Rule = {
  saves: () => ['idx'],
  backward: (b) => b.ops.embeddingGrad(b.saved('idx'), b.dy, b.into('table')!),
};

type Mode = 'area' | 'bicubic' | 'nearest';

export const interpolate: Rule = {
  saves: () => [],
  backward: (b) => {
    const [, h, w] = b.shape('x') as [number, number, number];
    b.give('x', () => b.ops.interpolateGrad(b.dy, { mode: b.attr<Mode>('mode'), h, w }));
  },
};
