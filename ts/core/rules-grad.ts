// Shape rules and checks of the ops that training needs, by the names ops.json gives them. Kernels rely on every one of them.
import { checkShape } from './check.js';
import { dims, floating, input, modulationRows, num, range, refuse } from './rules-kit.js';
import { shapeFailure, showShape } from './shapes.js';
import type { RuleContext } from './types.js';

// Whether a tensor of shape `from` broadcasts to `to`.
function broadcasts(from: readonly number[], to: readonly number[]): boolean {
  return from.length <= to.length && from.every((d, i) => d === 1 || d === to[to.length - from.length + i]);
}

export function sumTo(c: RuleContext): readonly number[] {
  const shape = checkShape(`[${c.op}] shape`, c.a.shape);
  if (!broadcasts(shape, input(c, 'x').shape)) shapeFailure(c, `${showShape(shape)} does not broadcast to it`);
  return [...shape];
}

export function broadcastTo(c: RuleContext): readonly number[] {
  const shape = checkShape(`[${c.op}] shape`, dims(c, 'shape'));
  if (!broadcasts(input(c, 'x').shape, shape)) shapeFailure(c, `does not broadcast to ${showShape(shape)}`);
  return [...shape];
}

export function bincount(c: RuleContext): void {
  range(c, 'n', 1, 0x7fffffff);
}

export function interpolateGrad(c: RuleContext): void {
  range(c, 'h', 1, 65536);
  range(c, 'w', 1, 65536);
}

export function dilate(c: RuleContext): void {
  range(c, 'stride', 1, 64);
}

export function gateResidual(c: RuleContext): void {
  if (c.a.dtype !== undefined) floating(c);
  modulationRows(c, 'gate', 'Bg', ['gateAt']);
}

export function layerNormGrad(c: RuleContext): void {
  if (!(num(c, 'eps') >= 0)) refuse(c, 'eps', 'a number of at least 0');
  for (const name of ['mod', 'dMod']) if (c.in[name]) modulationRows(c, name, 'Bm', ['scaleAt', 'shiftAt']);
}

export function conv2dGradW(c: RuleContext): void {
  const { h, w, kh, kw, oh, ow } = c.d as { h: number; w: number; kh: number; kw: number; oh: number; ow: number };
  const stride = range(c, 'stride', 1, 64);
  const upsample = range(c, 'upsample', 1, 64);
  const pad = range(c, 'padBefore', 0, kh) + range(c, 'padAfter', 0, kh);
  if (kh !== kw || kh > 64) shapeFailure(c, 'the kernel must be square and at most 64 wide', ['dw']);
  const out = (d: number): number => Math.floor((d * upsample + pad - kh) / stride) + 1;
  if (out(h) !== oh || out(w) !== ow) shapeFailure(c, `the output is ${out(h)} x ${out(w)}`, ['x', 'dy']);
}

export function attentionGrad(c: RuleContext): void {
  range(c, 'heads', 1, 4096);
  range(c, 'width', 1, 4096);
  if (c.in.dScaleMul && !c.in.scaleMul) shapeFailure(c, 'dScaleMul is given without scaleMul', ['dScaleMul']);
}

export function crossEntropy(c: RuleContext): void {
  const smooth = num(c, 'labelSmooth');
  if (!(smooth >= 0 && smooth <= 1)) refuse(c, 'labelSmooth', 'a number from 0 to 1');
}

export function gradStats(c: RuleContext): void {
  if ((c.d.s as number) < 2) shapeFailure(c, 'at least two offsets are needed', ['offsets']);
}

function nonNegative(c: RuleContext, names: readonly string[]): void {
  for (const name of names) if (!(num(c, name) >= 0)) refuse(c, name, 'a number of at least 0');
}

function clippedByStats(c: RuleContext): void {
  if (num(c, 'maxNorm') > 0 && !c.in.stats) shapeFailure(c, 'maxNorm needs stats', []);
}

export function adamw(c: RuleContext): void {
  range(c, 'step', 1, 0x7fffffff);
  nonNegative(c, ['lr', 'eps', 'weightDecay', 'invScale']);
  for (const name of ['beta1', 'beta2'])
    if (!(num(c, name) >= 0 && Math.fround(num(c, name)) < 1)) refuse(c, name, 'a number from 0 up to but without 1');
  clippedByStats(c);
}

export function sgd(c: RuleContext): void {
  nonNegative(c, ['lr', 'weightDecay', 'invScale', 'momentum']);
  clippedByStats(c);
  if (num(c, 'momentum') > 0 && !c.in.velocity) shapeFailure(c, 'momentum needs velocity', []);
}
