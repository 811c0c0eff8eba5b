// Normalisations, attention and the gate behind a residual branch: their kernels compute all gradients in one pass.
import { ArgumentError } from '../../core/errors.js';
import type { Backward, Rule } from '../rule.js';

/** A kernel gives the gradient of x whether it is needed or not. */
function giveX(b: Backward, name: string, run: () => ReturnType<Backward['saved']>): void {
  if (b.needs(name)) b.give(name, run);
  else run().dispose();
}

export const layerNorm: Rule = {
  saves: (c) => (c.has('mod') ? ['x', 'mod'] : ['x']),
  backward: (b) => {
    const dMod = b.into('mod');
    const options = { mod: b.maybe('mod'), eps: b.attr('eps'), scaleAt: b.attr('scaleAt'), shiftAt: b.attr('shiftAt') };
    giveX(b, 'x', () => b.ops.layerNormGrad(b.saved('x'), b.dy, { ...options, dMod }));
  },
};

export const groupNorm: Rule = {
  saves: () => ['x', 'gamma', 'beta'],
  backward: (b) => {
    const [dGamma, dBeta] = [b.into('gamma'), b.into('beta')];
    const options = { groups: b.attr('groups'), eps: b.attr('eps'), silu: b.attr<boolean>('silu'), dGamma, dBeta };
    giveX(b, 'x', () => b.ops.groupNormGrad(b.saved('x'), b.dy, b.saved('gamma'), b.saved('beta'), options));
  },
};

export const gateResidual: Rule = {
  saves: () => ['x', 'gate'],
  backward: (b) => {
    b.pass('residual');
    const dGate = b.into('gate');
    giveX(b, 'x', () => b.ops.gateResidualGrad(b.saved('x'), b.dy, b.saved('gate'), { gateAt: b.attr('gateAt'), dGate }));
  },
};

export const attention: Rule = {
  extra: (c) => {
    const [batch, l] = c.shape('qkv') as [number, number];
    return { lse: [batch, c.attr('heads'), l] };
  },
  saves: (c) => {
    if (c.has('kCache')) throw new ArgumentError(`[${c.op}] with caches it has no gradient`);
    return ['qkv', 'y', 'lse', ...['scaleMul', 'visible'].filter((name) => c.has(name))];
  },
  backward: (b) => {
    const dScaleMul = b.into('scaleMul');
    const options = {
      heads: b.attr('heads'),
      width: b.attr('width'),
      scale: b.attr('scale'),
      maxScaleMul: b.attr('maxScaleMul'),
      scaleMul: b.maybe('scaleMul'),
      visible: b.maybe('visible'),
      dScaleMul,
    };
    giveX(b, 'qkv', () => b.ops.attentionGrad(b.saved('qkv'), b.saved('y'), b.dy, b.saved('lse'), options));
  },
};

export const softmax: Rule = {
  saves: () => ['y'],
  backward: (b) => b.give('x', () => b.ops.softmaxGrad(b.saved('y'), b.dy, { scale: b.attr('scale') })),
};

export const l2Normalize: Rule = {
  saves: () => ['x'],
  backward: (b) => b.give('x', () => b.ops.l2NormalizeGrad(b.saved('x'), b.dy, { eps: b.attr('eps') })),
};
