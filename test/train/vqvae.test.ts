// driver: timeout=300
// The VQVAE task on small pictures: it overfits, its codes stay alive, it resumes, and its bits do not depend on threads.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, writePth } from '../../ts/checkpoint/index.js';
import { createEngine, type Engine } from '../../ts/index.js';
import { decodeState, encodeState } from '../../ts/train/saved.js';
import type { LossTerm, VqvaeTask } from '../../ts/train/vqvae/index.js';
import { infoAt, once, part, pictures, RESO, TINY, tinyTask, trainer } from './vqvae-kit.js';

const CODEBOOK = 'quantize.embedding.weight';
const test = suite('training of a VQVAE');
let engine: Engine;
let folder: string;

test.before(async () => {
  engine = await createEngine({ threads: 2 });
  folder = mkdtempSync(join(tmpdir(), 'nextscale-vqvae-'));
});
test.after(async () => {
  await engine.close();
  rmSync(folder, { recursive: true });
});

/** Bits of all parameters. */
async function bits(task: VqvaeTask): Promise<string[]> {
  const values = await Promise.all(task.params.names.map(async (name) => (await task.params.get(name).read()) as Float32Array));
  return values.map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64'));
}

test('eight pictures are learnt by heart', async () => {
  const task = await tinyTask(engine);
  const { run, optimizer } = trainer(task);
  const all = pictures(8);
  await task.prepare(once(all, all, all, all));
  const [first] = await run([all], 0, 1);
  await run([all], 1, 120, 2e-3);
  const last = (await run([all], 120, 220, 4e-4)).at(-1)!;
  assert.ok(first!.loss > 0.1, `starts at ${first!.loss}`);
  assert.ok(last.loss < 0.01, `ends at ${last.loss}`);
  assert.ok(last.metrics.psnr! > 30, `${last.metrics.psnr} dB`);
  const metrics = await task.evaluate(once(all));
  assert.ok(Math.abs(metrics.loss! - last.loss) < 0.01, `evaluated ${metrics.loss}, trained ${last.loss}`);
  assert.ok(metrics.psnr! > 30);
  optimizer.dispose();
  task.dispose();
});

test('metrics of a step: the loss is the weighted sum, psnr that of the clamped pictures', async () => {
  const task = await tinyTask(engine, {
    kmeans: false,
    recon: { l1: 0.5, l2: 2 },
    vqWeight: 3,
    entropyWeight: 0.1,
    extraLosses: [
      { name: 'bright', weight: 0.25, apply: ({ ops }, x, rec) => ops.pairLoss(ops.affine(rec, { mul: 2 }), x, { kind: 'l1' }) },
    ],
  });
  const { metrics, loss, scalars } = await task.step(pictures(4), infoAt(0, { detailed: true }));
  const { rec, vq, entropy, bright, psnr } = metrics as Record<string, number>;
  assert.equal(Object.keys(metrics), ['loss', 'rec', 'vq', 'entropy', 'bright', 'psnr']);
  assert.ok(Math.abs(loss - (rec! + 3 * vq! + 0.1 * entropy! + 0.25 * bright!)) < 1e-5);
  assert.ok(psnr! > 0 && psnr! < 20);
  assert.is(scalars!['VAE_iter_loss/vq'], vq);
  assert.ok('VAE_iter_codebook/usage_8' in scalars!);
  const quiet = await task.step(pictures(4), infoAt(1, { log: false }));
  assert.equal(quiet.metrics, {});
  assert.not.ok(quiet.scalars);
  task.dispose();
});

test('phi starts as the identity unless told otherwise', async () => {
  const name = 'quantize.quant_resi.qresi_ls.1';
  const start = async (more: object) => {
    const task = await tinyTask(engine, more);
    const values = await Promise.all([`${name}.weight`, `${name}.bias`].map(async (key) => [...(await task.params.get(key).read())]));
    task.dispose();
    return values as [number[], number[]];
  };
  const [weight, bias] = await start({});
  const c = TINY.zChannels;
  assert.equal(
    weight,
    Array.from({ length: c * c * 9 }, (_, i) => (i % 9 === 4 && Math.floor(i / 9) % (c + 1) === 0 ? 1 : 0)),
  );
  assert.equal(bias, new Array(c).fill(0));
  const [random] = await start({ phiIdentity: false });
  assert.ok(new Set(random).size > 500, 'random weights');
});

test('a k-means start has a lower quantizer loss over the first epoch than a random one', async () => {
  const all = pictures(32);
  const batches = [0, 8, 16, 24].map((from) => part(all, from, from + 8));
  const epoch = async (kmeans: false | object) => {
    const task = await tinyTask(engine, { kmeans, restart: false });
    const { run, optimizer } = trainer(task);
    await task.prepare(once(...batches));
    const results = await run(batches, 0, 4);
    const usage = task.endEpoch().metrics['VAE_ep/usage']!;
    optimizer.dispose();
    task.dispose();
    return { vq: results.reduce((sum, { metrics }) => sum + metrics.vq!, 0) / 4, usage };
  };
  const [random, kmeans, spread] = [await epoch(false), await epoch({}), await epoch({ start: 'kmeans++' })];
  assert.ok(kmeans.vq < random.vq / 2, `${kmeans.vq} against ${random.vq}`);
  assert.ok(spread.vq < random.vq / 2, `${spread.vq} against ${random.vq}`);
  assert.ok(kmeans.usage > 60 && kmeans.usage > random.usage, `${kmeans.usage} % against ${random.usage} %`);
});

test('dead codes start anew, are used, and their moments are cleared', async () => {
  const task = await tinyTask(engine, { kmeans: false, eini: 20, restart: { after: 5 } });
  const { run, optimizer } = trainer(task);
  const cleared: [string, Int32Array][] = [];
  const reset = task.onCodesReplaced!;
  task.onCodesReplaced = (name, rows) => {
    cleared.push([name, rows]);
    reset(name, rows);
  };
  const all = pictures(8);
  await run([all], 0, 4);
  const before = task.usage.stats().all;
  assert.ok(before.usage < 50, `${before.usage} % at first`);
  await run([all], 4, 12);
  assert.ok(cleared.length > 0, 'codes were replaced');
  assert.ok(cleared.every(([name]) => name === CODEBOOK));
  task.endEpoch();
  await run([all], 12, 16);
  const after = task.usage.stats().all;
  assert.ok(after.usage > before.usage + 20, `${before.usage} % before, ${after.usage} % after`);
  assert.is(task.endEpoch().metrics['VAE_ep/restarted']! >= 0, true);
  optimizer.dispose();
  task.dispose();
});

test('a skipped step replaces nothing', async () => {
  const task = await tinyTask(engine, { kmeans: false, eini: 20, restart: { after: 1 } });
  task.onCodesReplaced = () => assert.unreachable('a code was replaced');
  const before = await task.params.get(CODEBOOK).read();
  for (let gIt = 0; gIt < 3; gIt++) {
    await task.step(pictures(4), infoAt(gIt));
    await task.afterStep(infoAt(gIt), true);
  }
  assert.equal(await task.params.get(CODEBOOK).read(), before);
  task.dispose();
});

test('a step that was aborted leaves a task that goes on with the same bits', async () => {
  const all = pictures(8);
  const results: string[][] = [];
  let onLoss = () => {};
  const hook: LossTerm = {
    name: 'hook',
    weight: 0,
    apply: ({ ops }, x, rec) => {
      onLoss();
      return ops.pairLoss(rec, x, { kind: 'l1' });
    },
  };
  for (const abort of [false, true]) {
    const task = await tinyTask(engine, { kmeans: false, restart: { after: 1 }, extraLosses: [hook] });
    const { run, optimizer } = trainer(task);
    await run([all], 0, 1);
    if (abort) {
      const controller = new AbortController();
      // In the middle of the backward pass.
      onLoss = () => setImmediate(() => controller.abort());
      const aborted = task.step(all, infoAt(1, { signal: controller.signal }));
      await aborted.then(
        () => assert.unreachable(),
        (error: Error) => assert.is(error.name, 'AbortError'),
      );
      onLoss = () => {};
    }
    await run([all], 1, 4);
    results.push(await bits(task));
    optimizer.dispose();
    task.dispose();
  }
  assert.equal(results[1], results[0]);
});

test('gradient checkpointing gives the same bits from less memory', async () => {
  const batch = pictures(4, 5);
  const runs = [];
  for (const checkpointing of [false, true]) {
    await using own = await createEngine({ threads: 2, maxCachedBytes: 0 });
    const task = await tinyTask(own, { kmeans: false, restart: false, checkpointing });
    task.params.zeroGrads();
    const { loss } = await task.step(batch, infoAt(0));
    const grads = await Promise.all(task.params.names.map(async (name) => await task.params.grad(name).read()));
    runs.push({ loss, grads, peak: own.memory().peakBytes });
    task.dispose();
  }
  const [whole, again] = runs as [(typeof runs)[0], (typeof runs)[0]];
  assert.is(again.loss, whole.loss);
  assert.equal(again.grads, whole.grads);
  assert.ok(again.peak < 0.8 * whole.peak, `peaks: ${again.peak} and ${whole.peak}`);
});

test('one and two threads give the same bits', async () => {
  const results: string[][] = [];
  for (const threads of [1, 2]) {
    const own = await createEngine({ threads });
    const task = await tinyTask(own, { restart: { after: 2 } });
    const { run, optimizer } = trainer(task);
    const all = pictures(8);
    await task.prepare(once(all));
    await run([all], 0, 5);
    results.push(await bits(task));
    optimizer.dispose();
    task.dispose();
    await own.close();
  }
  assert.equal(results[0], results[1]);
});

/** State of task and optimizer through a file. */
async function save(task: VqvaeTask, optimizer: ReturnType<typeof trainer>['optimizer'], name: string): Promise<string> {
  const path = join(folder, name);
  await writePth(path, encodeState({ trainer: await task.state(), optimizer: optimizer.state() }) as never);
  return path;
}

test('a run that was saved and restored goes on with the same bits', async () => {
  const all = pictures(16);
  const batches = [part(all, 0, 8), part(all, 8, 16)];
  const task = await tinyTask(engine, { restart: { after: 3, below: 0.05 } });
  const one = trainer(task);
  await task.prepare(once(...batches));
  await one.run(batches, 0, 5);
  const path = await save(task, one.optimizer, 'run.pth');
  await one.run(batches, 5, 11);
  const resumed = await tinyTask(engine, { restart: { after: 3, below: 0.05 } });
  const two = trainer(resumed);
  const file = await openCheckpoint(path, { root: '' });
  const state = decodeState(file);
  await resumed.restore(state.trainer as Record<string, unknown>);
  await two.optimizer.restore(state.optimizer);
  await engine.flush();
  file.close();
  await two.run(batches, 5, 11);
  assert.equal(await bits(resumed), await bits(task));
  assert.equal(resumed.usage.ema, task.usage.ema);
  assert.equal(resumed.endEpoch(), task.endEpoch());
  for (const { optimizer } of [one, two]) optimizer.dispose();
  task.dispose();
  resumed.dispose();
});

test('a state of other sizes is refused', async () => {
  const task = await tinyTask(engine, { kmeans: false });
  const one = trainer(task);
  const path = await save(task, one.optimizer, 'other.pth');
  const file = await openCheckpoint(path, { root: '' });
  const refused: [object, RegExp][] = [
    [{ vocabSize: 32 }, /quantize\.embedding\.weight.*\[64,8\].*\[32,8\]/],
    [{ patchNums: [1, 2, 3, 8] }, /patch_nums of the saved run is 1_2_4_8, of this one 1_2_3_8/],
    [{ beta: 0.5 }, /beta of the saved run is 0.25, of this one 0.5/],
  ];
  for (const [config, message] of refused) {
    const other = await tinyTask(engine, { kmeans: false, config: { ...TINY, ...config } });
    const error = await other.restore(decodeState(file).trainer as Record<string, unknown>).then(
      () => null,
      (e: Error) => e,
    );
    assert.match(error!.message, message);
    other.dispose();
  }
  file.close();
  one.optimizer.dispose();
  task.dispose();
});

test('pictures of the log: an original and its reconstructions after every scale in a row', async () => {
  const task = await tinyTask(engine, { kmeans: false, shown: 3 });
  assert.equal(await task.images(), []);
  const all = pictures(5);
  await task.evaluate(once(all));
  const [image] = await task.images();
  assert.is(image!.tag, 'VAE_images/reconstruction');
  const columns = 1 + TINY.patchNums.length;
  assert.equal([image!.width, image!.height], [columns * (RESO + 1) + 1, 3 * (RESO + 1) + 1]);
  const row = image!.data.subarray((image!.width + 1) * 3, (image!.width + 1 + RESO) * 3);
  assert.equal([...row], [...all.pixels.subarray(0, RESO * 3)]);
  task.dispose();
});

test('an empty validation set and pictures of another size are refused', async () => {
  const task = await tinyTask(engine, { kmeans: false });
  const refused = async (work: Promise<unknown>) =>
    await work.then(
      () => '',
      (e: Error) => e.message,
    );
  assert.match(await refused(task.evaluate(once())), /empty/);
  assert.match(await refused(task.step(pictures(2, 1, 16), infoAt(0))), /16 pixels wide.*32/);
  assert.match(await refused(task.prepare(once())), /^$/, 'nothing to prepare without k-means');
  task.dispose();
});

test('no tensor stays behind', async () => {
  const own = await createEngine({ threads: 1 });
  const task = await tinyTask(own, { restart: { after: 1 } });
  const { run, optimizer } = trainer(task);
  const all = pictures(4);
  await task.prepare(once(all));
  await run([all], 0, 2);
  await task.state();
  const before = own.memory().tensors;
  await run([all], 2, 4);
  await task.evaluate(once(all, all));
  await task.images();
  await task.state();
  assert.is(own.memory().tensors, before);
  optimizer.dispose();
  task.dispose();
  assert.is(own.memory().tensors, 0);
  await own.close();
});

test.run();
