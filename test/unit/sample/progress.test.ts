import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine } from '../../../ts/index.js';
import { SMALL_VQVAE, small } from './kit.js';

const test = suite('progress events');

test('loading, tokenising, reconstructing and generating each count up to their total', async () => {
  await using engine = await createEngine({ threads: 2 });
  const seen = new Map<string, { done: number; total: number }[]>();
  engine.on('progress', ({ what, done, total }) => seen.set(what, [...(seen.get(what) ?? []), { done, total }]));
  const { vqvae, model, dispose } = await small(engine);
  const side = vqvae.resolution;
  const image = { width: side, height: side, data: new Uint8Array(side * side * 3).fill(90) };
  await vqvae.tokenize([image, image]);
  await vqvae.reconstruct(image);
  await model.generate({ labels: [1], seed: 0 });
  dispose();

  assert.equal([...seen.keys()], ['load', 'tokenize', 'reconstruct', 'generate']);
  for (const [what, steps] of seen) {
    const { total } = steps[0]!;
    assert.ok(
      steps.every((step, i) => step.total === total && step.done > (steps[i - 1]?.done ?? 0)),
      what,
    );
    assert.is(steps.at(-1)!.done, total, what);
  }
  assert.is(seen.get('tokenize')![0]!.total, 2);
  assert.is(seen.get('generate')!.length, SMALL_VQVAE.patchNums.length);
});

test.run();
