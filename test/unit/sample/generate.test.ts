import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type ScalePreview } from '../../../ts/index.js';
import { imageTokens, type Small, small, tokensOf } from './kit.js';

const test = suite('generate');
let engine: Engine;
let models: Small;

test.before(async () => {
  engine = await createEngine({ threads: 2 });
  models = await small(engine);
});
test.after(async () => {
  models.dispose();
  await engine.close();
});

test('the same seed gives the same images and tokens, another seed others', async () => {
  const call = { labels: [1, 3], seed: 9 };
  const a = await models.model.generate(call);
  const b = await models.model.generate(call);
  const c = await models.model.generate({ ...call, seed: 10 });
  assert.equal(tokensOf(a.tokens), tokensOf(b.tokens));
  assert.equal(
    a.images.map((i) => [...i.data]),
    b.images.map((i) => [...i.data]),
  );
  assert.not.equal(tokensOf(a.tokens), tokensOf(c.tokens));
  assert.equal(
    a.tokens.map((t) => t.length),
    [2, 8, 18],
  );
  assert.equal([a.images.length, a.images[0]!.width, a.images[0]!.height, a.images[0]!.data.length], [2, 12, 12, 432]);
});

test('an image with its own seed is the same alone and at any place of any batch', async () => {
  const alone = await models.model.generate({ labels: [2], seed: 77 });
  const batch = await models.model.generate({ labels: [0, 4, 2], seed: [5, 6, 77] });
  assert.equal(imageTokens(batch.tokens, 2, 3), tokensOf(alone.tokens));
  assert.equal([...batch.images[2]!.data], [...alone.images[0]!.data]);
});

test('one seed for a batch: image 0 equals a request of one, the others differ from it', async () => {
  const alone = await models.model.generate({ labels: [2], seed: 78 });
  const batch = await models.model.generate({ labels: [2, 2, 2], seed: 78 });
  assert.equal(imageTokens(batch.tokens, 0, 3), tokensOf(alone.tokens));
  assert.not.equal(imageTokens(batch.tokens, 1, 3), tokensOf(alone.tokens));
});

test('1, 2 and 3 threads give the same tokens and bytes', async () => {
  const want = await models.model.generate({ labels: [1, 2], seed: 3 });
  for (const threads of [1, 3]) {
    await using other = await createEngine({ threads });
    const again = await small(other);
    const got = await again.model.generate({ labels: [1, 2], seed: 3 });
    assert.equal(tokensOf(got.tokens), tokensOf(want.tokens), `${threads} threads`);
    assert.equal([...got.images[1]!.data], [...want.images[1]!.data], `${threads} threads`);
    again.dispose();
  }
});

test('options per image equal requests of one image each', async () => {
  const perImage = [
    { cfg: 0, topK: 3, topP: 0.5, seed: 1 },
    { cfg: 7, topK: 0, topP: 0, seed: 2 },
    { topK: 1, seed: 3 },
  ];
  const batch = await models.model.generate({ labels: [1, 2, 3], cfg: 2, topK: 8, topP: 0.9, perImage });
  for (const [i, options] of perImage.entries()) {
    const one = await models.model.generate({ labels: [i + 1], ...{ cfg: 2, topK: 8, topP: 0.9 }, ...options });
    assert.equal(imageTokens(batch.tokens, i, 3), tokensOf(one.tokens), `image ${i}`);
  }
  const lists = await models.model.generate({ labels: [1, 2, 3], seed: [1, 2, 3], cfg: [0, 7, 2], topK: [3, 0, 1], topP: [0.5, 0, 0.9] });
  assert.equal(tokensOf(lists.tokens), tokensOf(batch.tokens));
});

test('top-k 1 draws the same tokens whatever the seed', async () => {
  const draw = async (seed: number) => tokensOf((await models.model.generate({ labels: 1, topK: 1, topP: 0, seed })).tokens);
  assert.equal(await draw(1), await draw(2));
});

test('random labels depend on the seed alone and are reported', async () => {
  const a = await models.model.generate({ count: 4, seed: 12 });
  const b = await models.model.generate({ labels: a.labels, seed: 12 });
  assert.is(a.labels.length, 4);
  assert.ok(a.labels.every((label) => label >= 0 && label < 5));
  assert.equal(tokensOf(a.tokens), tokensOf(b.tokens));
  const c = await models.model.generate({ labels: -1, seed: 12 });
  assert.equal(c.labels, [5]);
});

test('without a seed one is drawn and reported', async () => {
  const a = await models.model.generate({ labels: 1 });
  const b = await models.model.generate({ labels: 1, seed: a.seed });
  assert.equal(tokensOf(a.tokens), tokensOf(b.tokens));
});

test('moreSmooth mixes codewords: other images, deterministic', async () => {
  const call = { labels: [1], seed: 4 };
  const plain = await models.model.generate(call);
  const a = await models.model.generate({ ...call, moreSmooth: true });
  const b = await models.model.generate({ ...call, moreSmooth: true });
  assert.equal([...a.images[0]!.data], [...b.images[0]!.data]);
  assert.not.equal([...a.images[0]!.data], [...plain.images[0]!.data]);
});

test('iterating gives every scale in order, with images; the last equal the result', async () => {
  const events: number[] = [];
  const seen: ScalePreview[] = [];
  const called: number[] = [];
  const listen = (event: { scale: number }) => events.push(event.scale);
  engine.on('scale', listen);
  const generation = models.model.generate({ labels: [1, 2], seed: 6, onScale: (p) => called.push(p.patchNum) });
  for await (const preview of generation) seen.push(preview);
  const result = await generation;
  engine.off('scale', listen);
  assert.equal(
    seen.map((p) => [p.scale, p.of, p.patchNum]),
    [
      [0, 3, 1],
      [1, 3, 2],
      [2, 3, 3],
    ],
  );
  assert.equal(events, [0, 1, 2]);
  assert.equal(called, [1, 2, 3]);
  assert.equal(
    seen.map((p) => [...p.tokens]),
    tokensOf(result.tokens),
  );
  assert.equal(
    seen[2]!.images.map((i) => [...i.data]),
    result.images.map((i) => [...i.data]),
  );
  assert.not.equal([...seen[0]!.images[0]!.data], [...result.images[0]!.data]);
});

test('awaited without iterating, no previews are decoded unless asked for', async () => {
  const counts: number[] = [];
  await models.model.generate({ labels: 1, seed: 1, onScale: (p) => counts.push(p.images.length) });
  await models.model.generate({ labels: 1, seed: 1, scalePreviews: true, onScale: (p) => counts.push(p.images.length) });
  assert.equal(counts, [0, 0, 0, 1, 1, 1]);
});

test('two generations at once give what they give one after the other', async () => {
  const calls = [
    { labels: [1], seed: 20 },
    { labels: [4, 0], seed: 21 },
  ];
  const together = await Promise.all(calls.map((call) => models.model.generate(call)));
  for (const [i, call] of calls.entries())
    assert.equal(tokensOf(together[i]!.tokens), tokensOf((await models.model.generate(call)).tokens));
});

test('teacher forcing drops labels at the given rate, by the seed', async () => {
  const n = 400;
  const labels = new Array<number>(n).fill(2);
  const first = async (given: readonly number[], options: object) => {
    using logits = models.model.forward(given, null, { progSi: 0, ...options });
    const data = (await logits.read()) as Float32Array;
    return Array.from({ length: given.length }, (_, i) => data[i * 32]!);
  };
  const [kept, dropped] = await first([2, 5], {});
  const drawn = await first(labels, { condDropRate: 0.3, seed: 8 });
  const count = drawn.filter((v) => v === dropped).length;
  assert.is(drawn.filter((v) => v === kept).length, n - count);
  assert.ok(Math.abs(count / n - 0.3) < 0.1, `${count} of ${n}`);
  assert.equal(await first(labels, { condDropRate: 0.3, seed: 8 }), drawn);
  assert.not.equal(await first(labels, { condDropRate: 0.3, seed: 9 }), drawn);
  assert.ok((await first(labels, { condDropRate: 1 })).every((v) => v === dropped));
});

test('an image becomes a PNG file', async () => {
  const { images } = await models.model.generate({ labels: 1, seed: 1 });
  const png = await images[0]!.toPng();
  assert.equal([...png.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
});

test.run();
