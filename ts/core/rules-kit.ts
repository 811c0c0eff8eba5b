// What the shape rules share.
import { ArgumentError } from './errors.js';
import { shapeFailure } from './shapes.js';
import type { RuleContext, TensorRef } from './types.js';

export const PANEL = 16;
export const panels = (n: number): number => Math.ceil(n / PANEL);
export const input = (c: RuleContext, name: string): TensorRef => c.in[name] as TensorRef;
export const num = (c: RuleContext, name: string): number => c.a[name] as number;
export const dims = (c: RuleContext, name: string): readonly number[] => c.a[name] as readonly number[];

export function refuse(c: RuleContext, name: string, accepted: string): never {
  throw new ArgumentError(`[${c.op}] ${name} is ${String(c.a[name])}: expected ${accepted}`);
}

export function range(c: RuleContext, name: string, lo: number, hi: number): number {
  const v = num(c, name);
  return v >= lo && v <= hi ? v : refuse(c, name, `an integer in [${lo}, ${hi}]`);
}

// One row of [Bm,G,...] per image, or one for all.
export function modulationRows(c: RuleContext, name: string, batch: string, at: readonly string[]): void {
  if (c.d[batch] !== 1 && c.d[batch] !== c.d.B) shapeFailure(c, `${name} must have ${c.d.B} rows or 1`, ['x', name]);
  for (const attr of at) range(c, attr, 0, (c.d.G as number) - 1);
}

// An output that is rounded from f32: integers would be no values of it.
export function floating(c: RuleContext): void {
  const { dtype } = c.a;
  if (dtype !== 'f32' && dtype !== 'f16' && dtype !== 'bf16') refuse(c, 'dtype', 'f32, f16 or bf16');
}
