// The parts of VAR training that need no engine: progressive schedule, loss weights, random drops, metrics.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { dropLabels, dropPathRate, dropPaths } from '../../ts/train/var/drops.js';
import { Evaluation } from '../../ts/train/var/evaluation.js';
import { detailedScalars, meanAndTail, spanMeans, vocabUsage } from '../../ts/train/var/metrics.js';
import { varTraining } from '../../ts/train/var/options.js';
import { lossWeights, Progressive } from '../../ts/train/var/progressive.js';
import { shownClasses } from '../../ts/train/var/samples.js';

const test = suite('parts of VAR training');
const at = (gIt: number) => ({ gIt, itersPerEp: 10, maxIt: 100 });
const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);

test('without pg all scales are trained from the start', () => {
  const progressive = new Progressive(5);
  for (const gIt of [0, 50, 99]) assert.equal(progressive.advance(at(gIt)), { progSi: -1, newest: -1, progWp: 1 });
  assert.equal(progressive.state(), { prog_it: 3, last_prog_si: -1, first_prog: true });
});

test('scales are added between warm-up and the share pg of the run, rounded half to even', () => {
  const progressive = new Progressive(5, { pg: 0.5, pg0: 1, pgwp: 0.3, wp: 1 });
  const stages = Array.from({ length: 100 }, (_, gIt) => progressive.scaleAt(at(gIt)));
  assert.ok(stages.slice(0, 11).every((si) => si === 1));
  assert.ok(stages.slice(50).every((si) => si === 4));
  for (let gIt = 1; gIt < 100; gIt++) assert.ok(stages[gIt]! >= stages[gIt - 1]!);
  // (20 - 10) / (50 - 10) * 3 = 0.75, rounded 1; at 30 it is 1.5, and 2 is even
  assert.is(stages[20], 2);
  assert.is(stages[30], 3);
});

test('a new scale fades in over pgwp epochs, the first one does not; the last counts as all', () => {
  const progressive = new Progressive(3, { pg: 0.5, pg0: 0, pgwp: 0.4, wp: 0 });
  const seen: [number, number, number][] = [];
  for (let gIt = 0; gIt < 60; gIt++) {
    const { progSi, newest, progWp } = progressive.advance(at(gIt));
    seen.push([progSi, newest, progWp]);
  }
  assert.equal(seen[0], [0, 0, 1]);
  const first = seen.findIndex(([si]) => si === 1);
  assert.equal(
    seen.slice(first, first + 5).map(([, , wp]) => wp),
    [0.25, 0.5, 0.75, 1, 1],
  );
  const last = seen.findIndex(([si]) => si === 2);
  assert.equal(seen[last], [2, -1, 0.25]);
});

test('its state continues where it was', () => {
  const options = { pg: 0.5, pg0: 0, pgwp: 0.4, wp: 0 };
  const [one, two] = [new Progressive(4, options), new Progressive(4, options)];
  for (let gIt = 0; gIt < 20; gIt++) one.advance(at(gIt));
  two.restore(one.state());
  for (let gIt = 20; gIt < 50; gIt++) assert.equal(two.advance(at(gIt)), one.advance(at(gIt)));
  assert.throws(() => new Progressive(4, { pg: 0.5, pg0: 4 }), /pg0 is 4/);
});

test('weights of the tokens: 1 / L, the newest scale less', () => {
  const spans = [
    [0, 1],
    [1, 5],
    [5, 14],
  ] as const;
  assert.ok(lossWeights(spans, { progSi: -1, newest: -1, progWp: 0.5 }).every((w) => w === Math.fround(1 / 14)));
  const weights = lossWeights(spans, { progSi: 1, newest: 1, progWp: 0.5 });
  assert.equal(
    [...weights],
    [1, 0.5, 0.5, 0.5, 0.5].map((w) => Math.fround(w / 14)),
  );
  assert.is(lossWeights(spans, { progSi: 2, newest: -1, progWp: 0.5 }).length, 14);
});

test('labels are dropped with their rate, by (seed, iteration, image) and nothing else', () => {
  const labels = new Int32Array(20_000).fill(3);
  const key = (seed: number, gIt: number) => (b: number) => ({ seed, gIt, image: b });
  const dropped = dropLabels(labels, 0.1, 9, key(5, 0));
  near(Math.round((dropped.filter((label) => label === 9).length / labels.length) * 100) / 100, 0.1);
  assert.ok(dropped.every((label) => label === 3 || label === 9));
  const again = dropLabels(labels.slice(100, 200), 0.1, 9, (b) => key(5, 0)(b + 100));
  assert.equal([...again], [...dropped.slice(100, 200)]);
  assert.not.equal([...dropLabels(labels, 0.1, 9, key(5, 1))], [...dropped]);
  assert.not.equal([...dropLabels(labels, 0.1, 9, key(6, 0))], [...dropped]);
  assert.is(dropLabels(labels, 0, 9, key(5, 0)), labels);
});

test('branches are dropped more and more with depth, and what is kept is made larger', () => {
  const [batch, depth, rate] = [4000, 4, 0.3];
  const factors = dropPaths(batch, depth, rate, (image) => ({ seed: 1, gIt: 2, image }));
  assert.is(factors[0], undefined);
  for (let block = 1; block < depth; block++) {
    const p = dropPathRate(rate, block, depth);
    const rows = factors[block]!;
    for (const gate of [0, 1]) {
      const list = Array.from({ length: batch }, (_, b) => rows[b * 6 + gate]!);
      assert.ok(list.every((factor) => factor === 0 || factor === Math.fround(1 / (1 - p))));
      assert.ok(Math.abs(list.filter((factor) => factor === 0).length / batch - p) < 0.03);
    }
    assert.ok(rows.every((factor, i) => i % 6 < 2 || factor === 1));
    assert.ok(Array.from({ length: batch }, (_, b) => rows[b * 6] !== rows[b * 6 + 1]).some(Boolean), 'the branches drop on their own');
  }
  assert.ok(dropPaths(8, 3, 0, () => ({ seed: 0, gIt: 0, image: 0 })).every((entry) => entry === undefined));
  near(dropPathRate(0.2, 3, 4), 0.2);
});

const spans = [
  [0, 1],
  [1, 5],
] as const;
const results = {
  batch: 2,
  length: 5,
  target: Int32Array.of(1, 2, 3, 4, 5, 1, 2, 3, 4, 5),
  pred: Int32Array.of(1, 0, 3, 0, 0, 0, 2, 0, 0, 5),
  ce: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
};

test('means, tails and accuracies of scales', () => {
  assert.equal(spanMeans(results, [0, 1]), { loss: 3.5, acc: 0.5 });
  assert.equal(meanAndTail(results, spans, -1), { Lm: 5.5, Lt: 6, Accm: 40, Acct: 37.5 });
  assert.equal(meanAndTail(results, spans, 1), { Lm: 5.5, Lt: -1, Accm: 40, Acct: -1 });
  const scalars = detailedScalars(results, spans, [16, 32], 10, { progSi: -1, newest: -1, progWp: 1 });
  assert.equal(scalars, {
    'AR_iter_loss/z_voc_usage': 50,
    'AR_iter_loss/acc_16': 50,
    'AR_iter_loss/L_16': 3.5,
    'AR_iter_loss/acc_32': 37.5,
    'AR_iter_loss/L_32': 6,
    'AR_iter_schedule/prog_a_reso': 32,
    'AR_iter_schedule/prog_si': -1,
    'AR_iter_schedule/prog_wp': 1,
  });
  assert.is(vocabUsage(Float64Array.of(0, 1, 99_999, 0)), 25);
});

test('an evaluation weighs batches by their images', () => {
  const total = new Evaluation(spans);
  assert.throws(() => total.metrics(), /no images/);
  total.add(results);
  total.add({ ...results, batch: 1, target: results.target.slice(0, 5), pred: results.target.slice(0, 5), ce: new Float32Array(5) });
  assert.equal(
    Object.entries(total.metrics()).map(([name, value]) => [name, +value.toFixed(6)]),
    [
      ['vL_mean', 3.666667],
      ['vL_tail', 4],
      ['vacc_mean', 60],
      ['vacc_tail', 58.333333],
    ],
  );
});

test("options: the VQVAE decides what it must, names are told, defaults are the reference's", () => {
  const vqvae = vqvaeConfig({ patchNums: [1, 2], vocabSize: 64 });
  const settings = varTraining({ config: { depth: 12 } }, vqvae);
  near(settings.dropPathRate, 0.05);
  assert.equal([settings.config.patchNums, settings.config.vocabSize, settings.config.condDropRate], [[1, 2], 64, 0.1]);
  assert.throws(() => varTraining({ config: { vocabSize: 32 } }, vqvae), /config.vocabSize is 32.*64/);
  assert.throws(() => varTraining({ labelSmoth: 1 } as object, vqvae), /labelSmoth/);
  assert.throws(() => varTraining({ labelSmooth: 2 }, vqvae), /labelSmooth is 2/);
  assert.equal(shownClasses(1000, 4), [0, 250, 500, 750]);
  assert.equal(shownClasses(2, 8), [0, 1]);
});

test.run();
