// Gradients of a golden case: norm and 16 entries of every one, some in full.
import type { Tensor } from '../../ts/index.js';
import { type Check, compare, type GoldenCase, outputs, read } from './kind.js';

const SAMPLES = 16;

/** Compares what case.json stores of the gradients of `grad_names`. */
export async function compareGradients(c: GoldenCase, gradOf: (name: string) => Tensor): Promise<Check[]> {
  const names = c.json.grad_names as readonly string[];
  const [norms, samples] = [new Float32Array(names.length), new Float32Array(names.length * SAMPLES)];
  for (const [i, name] of names.entries()) {
    const grad = (await gradOf(name).read()) as Float32Array;
    norms[i] = Math.sqrt(grad.reduce((sum, value) => sum + value * value, 0));
    for (let k = 0; k < SAMPLES; k++) samples[i * SAMPLES + k] = grad[Math.floor((k * grad.length) / SAMPLES)]!;
  }
  const checks = [
    compare(c, 'grad_norms', { shape: [names.length], data: norms }),
    compare(c, 'grad_samples', { shape: [names.length, SAMPLES], data: samples }),
  ];
  for (const name of outputs(c)) if (name.startsWith('grad/')) checks.push(compare(c, name, await read(gradOf(name.slice(5)))));
  return checks;
}
