import type { Engine } from '../../engine/index.js';
import type { Numerics } from '../../nn/index.js';
import type { WinogradTile } from './blocks.js';

/**
 * The transform to build a VqvaeModel with; undefined: the model's default. A GPU has one convolution for every algorithm: the weights are
 * packed for the smallest. On the CPU the larger transform makes more than three times as much of the rounding of 16-bit weights
 * (decoder of ch 160, random weights).
 */
export function winogradTile(engine: Engine, asked: WinogradTile | undefined, numerics: Numerics = {}): WinogradTile | undefined {
  if (engine.device === 'cuda') return 0;
  return asked ?? ((numerics.dtype ?? numerics.precision ?? 'f32') === 'f32' ? undefined : 2);
}
