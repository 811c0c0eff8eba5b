import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AbortError, createEngine, type Engine, VAR, VQVAE } from '../../../ts/index.js';
import { liveBytes, rejection, type Small, small } from './kit.js';

const test = suite('cancelling');
let engine: Engine;
let models: Small;
let held = 0;

test.before(async () => {
  engine = await createEngine();
  models = await small(engine);
  await models.vqvae.loadEncoder();
  held = await liveBytes(engine);
});
test.after(async () => {
  models.dispose();
  await engine.close();
});
test.after.each(async () => {
  assert.is(await liveBytes(engine), held, 'nothing is left behind');
  assert.is((await models.model.generate({ labels: [0], seed: 1 })).images.length, 1, 'the engine works on');
});

/** Deep enough to be far from done when its first scale is. */
const deep = (depth: number): Promise<VAR> =>
  VAR.init(engine, { vqvae: models.vqvae, config: { depth, embedDim: 256, numHeads: 4, numClasses: 5 } });

test('an aborted signal is refused before any work', async () => {
  await engine.flush();
  const ops = () => JSON.stringify(Object.entries(engine.stats().ops).map(([name, { count }]) => [name, count]));
  const before = ops();
  const error = await rejection(models.model.generate({ labels: 1, signal: AbortSignal.abort() }));
  assert.instance(error, AbortError);
  assert.is(error.name, 'AbortError');
  await engine.flush();
  assert.is(ops(), before);
});

test('an aborted start of models is refused, with the reason in the message', async () => {
  const signal = AbortSignal.abort(new Error('closing'));
  for (const work of [VQVAE.init(engine, { signal }), VAR.init(engine, { vqvae: models.vqvae, signal })]) {
    const error = await rejection(work);
    assert.instance(error, AbortError);
    assert.is(error.message, 'the work was aborted: closing');
  }
});

test('aborted after a scale, the generation rejects and frees everything', async () => {
  for (const stop of [0, 1]) {
    const controller = new AbortController();
    const work = models.model.generate({
      labels: [1, 2],
      seed: 1,
      signal: controller.signal,
      onScale: (p) => p.scale === stop && controller.abort(new Error('enough')),
    });
    const error = await rejection(work);
    assert.instance(error, AbortError, `${error.name}: ${error.message}`);
  }
});

test('an abort, and an error of onScale, stop the work that is queued already', async () => {
  const depth = 40;
  using wide = await deep(depth);
  const executed = () => engine.stats().ops.attention?.count ?? 0;
  const enough = new RangeError('enough');
  const ends: readonly [string, (controller: AbortController) => unknown][] = [
    ['AbortError', (controller) => controller.abort(enough)],
    [
      'RangeError',
      () => {
        throw enough;
      },
    ],
    ['RangeError', () => Promise.reject(enough)],
  ];
  for (const [name, end] of ends) {
    const before = executed();
    const controller = new AbortController();
    const seen: number[] = [];
    const onScale = ({ scale }: { scale: number }) => {
      seen.push(scale);
      return end(controller);
    };
    const error = await rejection(wide.generate({ labels: Array(32).fill(1), seed: 1, signal: controller.signal, onScale }));
    await engine.flush();
    assert.is(error.name, name);
    assert.equal(seen, [0], 'no further scale is reported');
    assert.ok(executed() - before < 3 * depth, `${executed() - before} of ${3 * depth} blocks were computed`);
  }
});

test('aborted at any time', async () => {
  for (let delay = 0; delay < 12; delay++) {
    const controller = new AbortController();
    const work = models.model.generate({ labels: [1, 2, 3], seed: delay, signal: controller.signal, scalePreviews: true });
    setTimeout(() => controller.abort(), delay);
    try {
      await work;
    } catch (error) {
      assert.instance(error, AbortError, String(error));
    }
  }
});

test('leaving the loop cancels; awaited too, it does not', async () => {
  using wide = await deep(40);
  const left = wide.generate({ labels: Array(32).fill(1), seed: 1 });
  for await (const preview of left) if (preview.scale === 0) break;
  assert.instance(await rejection(left), AbortError);
  const kept = models.model.generate({ labels: 1, seed: 1 });
  const result = kept.then((r) => r);
  for await (const preview of kept) if (preview.scale === 0) break;
  assert.is((await result).images.length, 1);
});

test('the loop rejects with the error of the work', async () => {
  const error = await rejection(async () => {
    for await (const _ of models.model.generate({ labels: 99 })) assert.unreachable();
  });
  assert.match(error.message, /labels is 99/);
});

test('an error in onScale rejects the generation', async () => {
  const onScale = () => {
    throw new RangeError('mine');
  };
  assert.instance(await rejection(models.model.generate({ labels: 1, seed: 1, onScale })), RangeError);
});

test('tokenize, reconstruct and decode', async () => {
  const image = { data: new Uint8Array(432), width: 12, height: 12 };
  const signal = AbortSignal.abort();
  const maps = [new Int32Array(1), new Int32Array(4), new Int32Array(9)];
  for (const work of [
    () => models.vqvae.tokenize(image, { signal }),
    () => models.vqvae.reconstruct(image, { signal }),
    () => models.vqvae.decode(maps, { signal }),
  ])
    assert.instance(await rejection(work), AbortError);
  for (let delay = 0; delay < 6; delay++) {
    const controller = new AbortController();
    const work = models.vqvae.reconstruct([image, image], { signal: controller.signal, everyScale: true });
    setTimeout(() => controller.abort(), delay);
    await work.catch((error: unknown) => assert.instance(error, AbortError, String(error)));
  }
});

test.run();
