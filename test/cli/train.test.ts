// driver: timeout=600
// The commands of training from photos to pictures, interrupted and resumed, with tiny models.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../../ts/checkpoint/index.js';
import { folder, json, nextscale } from './support.js';
import { dataset, VAE_OPTIONS, VAR_OPTIONS } from './train-data.js';

const dir = folder();
const data = await dataset(join(dir, 'data'), 3, 8, 3);
const vae = join(dir, 'vae');
const runs = join(dir, 'runs');

async function ok(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await nextscale(args);
  assert.is(code, 0, `${args.join(' ')}: ${stderr}`);
  return stdout + stderr;
}

const vaeArgs = (out: string): string[] => [
  ...['train', 'vqvae', '--data', data, ...VAE_OPTIONS, '--bs', '6', '--ep', '3', '--val_ep', '1', '--kmeans-batches', '2'],
  ...['--restart', '4', '--keep', '2', '--threads', '2', '--out', out],
];
const varArgs = (out: string): string[] => [
  ...['train', 'var', '--data', data, '--vae', join(vae, 'vae.safetensors'), ...VAR_OPTIONS, '--bs', '8', '--ac', '2', '--ep=3'],
  ...['--tblr', '0.05', '--val_ep', '2', '--hflip', '--ema', '0.9', '--pg', '0.8', '--pg0', '1', '--threads', '2', '--out', out],
];

/** Every tensor of a file, and nothing else. */
async function tensors(path: string): Promise<Map<string, string>> {
  const file = await openCheckpoint(path, { root: '' });
  const out = new Map<string, string>();
  for (const key of file.keys().sort()) out.set(key, Buffer.from(await file.bytes(key)).toString('base64'));
  file.close();
  return out;
}

/** Lines of log.jsonl of one type without what a clock wrote. */
function logged(out: string, type: string): unknown[] {
  const rows = readFileSync(join(out, 'log.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return rows.filter((row) => row.type === type).map(({ seconds: _s, dataSeconds: _d, remainSeconds: _r, line: _l, ...row }) => row);
}

/** Interrupts a run after the first progress line that holds `mark`, as often as there are marks, then lets it end. */
async function interrupted(args: readonly string[], marks: readonly string[], signal: NodeJS.Signals): Promise<void> {
  let stopped = 0;
  for (const mark of marks) {
    const {
      code,
      stderr,
      stdout,
      signal: ended,
    } = await nextscale(args, { onStderr: (text) => (text.includes(mark) ? signal : undefined) });
    if (signal !== 'SIGKILL') assert.is(code, 0, stderr);
    // a signal may come after the last iteration, though not both times
    if (ended === 'SIGKILL' || /stopped after \d+ iterations .*the same command goes on from/.test(stdout)) stopped++;
  }
  assert.ok(stopped > 0, 'never interrupted');
  await ok(args);
}

test('train vqvae: progress, summary, checkpoints, weights', async () => {
  const text = await ok(vaeArgs(vae));
  assert.match(text, /data: 24 images of 3 classes \(folder\), 4 iterations per epoch/);
  assert.match(text, /\[INIT\]\[#para\] VAE=\d+\.\d\dM/);
  assert.match(text, /3 epochs x 4 iterations, 12 steps of \d+\.\d GFLOP on cpu, 2 threads/);
  assert.match(text, /\[Ep\]: \[ {3}0\/3\] {2}\[0\/4\] {2}eta: \d+:\d\d:\d\d {2}tlr: .* loss: .* rec: .* vq: .* psnr: .* time: .* data: /);
  assert.match(text, /measured: .* per iteration \(\d+\.\d GFLOP\/s\), the whole run about .*; memory /);
  assert.match(text, /finished: 3 epochs, 12 iterations/);
  const names = readdirSync(vae);
  for (const name of ['config.json', 'log.jsonl', 'log.txt', 'samples', 'vae-ckpt-last.pth', 'vae-ckpt-best.pth', 'vae.safetensors'])
    assert.ok(names.includes(name), `${name} is missing`);
  assert.ok(names.some((name) => name.startsWith('events.out.tfevents.')));
  const config = JSON.parse(readFileSync(join(vae, 'config.json'), 'utf8')) as Record<string, unknown>;
  assert.equal([config.ch, config.tlr, config.patch_nums], [32, (2e-3 * 6) / 256, [1, 2, 4]]);
});

test('train vqvae: stopped twice by SIGTERM and resumed equals uninterrupted, bit for bit', async () => {
  const out = join(dir, 'vae-stopped');
  await interrupted(vaeArgs(out), ['[Ep]: [   0/3]  [1/4]', '[Ep]: [   1/3]  [2/4]'], 'SIGTERM');
  assert.equal(await tensors(join(out, 'vae.safetensors')), await tensors(join(vae, 'vae.safetensors')));
  for (const type of ['step', 'epoch', 'eval']) assert.equal(logged(out, type), logged(vae, type), type);
});

test('train var: stopped, killed, resumed; weights, average and optimizer equal those of an uninterrupted run', async () => {
  const [whole, stopped, killed] = ['whole', 'stopped', 'killed'].map((name) => join(runs, name)) as [string, string, string];
  await ok(varArgs(whole));
  await interrupted(varArgs(stopped), ['[Ep]: [   0/3]  [1/6]', '[Ep]: [   1/3]  [2/6]'], 'SIGINT');
  await interrupted(
    [...varArgs(killed), '--save-it', '2'],
    ['[Ep]: [   0/3]  [2/6]', '[Ep]: [   1/3]  [5/6]', '[Ep]: [   2/3]  [1/6]'],
    'SIGKILL',
  );
  for (const out of [stopped, killed]) {
    for (const name of ['var.safetensors', 'var-ema.safetensors', 'ar-ckpt-last.pth'])
      assert.equal(await tensors(join(out, name)), await tensors(join(whole, name)), `${name} of ${out}`);
    for (const type of ['step', 'epoch', 'eval']) assert.equal(logged(out, type), logged(whole, type), `${type} of ${out}`);
  }
  const [average, last] = [await tensors(join(whole, 'var-ema.safetensors')), await tensors(join(whole, 'var.safetensors'))];
  assert.not.equal(average.get('head.weight'), last.get('head.weight'));
});

test('eval gives what the run measured, from weights and from checkpoints', async () => {
  const measured = logged(join(runs, 'whole'), 'eval').at(-1) as { metrics: Record<string, number>; count: number };
  const common = ['--data', data, '--bs', '12'];
  const fromRun = await json<{ metrics: Record<string, number>; images: number }>([
    'eval',
    'var',
    '--ckpt',
    join(runs, 'whole', 'ar-ckpt-last.pth'),
    ...common,
  ]);
  const weights = ['--ckpt', join(runs, 'whole', 'var.safetensors'), '--vae', join(vae, 'vae.safetensors')];
  const fromWeights = await json<{ metrics: Record<string, number> }>(['eval', 'var', ...weights, ...common]);
  assert.is(fromRun.images, 9);
  assert.is(measured.count, 9);
  for (const [name, value] of Object.entries(measured.metrics)) {
    assert.ok(Math.abs(fromRun.metrics[name]! - value) <= 1e-6 * Math.abs(value), name);
    assert.is(fromWeights.metrics[name], fromRun.metrics[name]);
  }
  const vqvae = await json<{ metrics: Record<string, number> }>(['eval', 'vqvae', '--ckpt', join(vae, 'vae.safetensors'), ...common]);
  assert.ok(vqvae.metrics.psnr! > 5);
});

test('exported weights go straight into generate, with names of classes', async () => {
  const out = join(dir, 'grid.png');
  const files = ['--vae', join(vae, 'vae.safetensors'), '--var', join(runs, 'whole', 'var.safetensors')];
  const made = await json<{ images: { name: string; width: number }[] }>(['generate', ...files, '--labels', '0,2', '--out', out]);
  assert.equal(
    made.images.map(({ name, width }) => [name, width]),
    [
      ['kind-0', 16],
      ['kind-2', 16],
    ],
  );
  assert.ok(existsSync(out));
});

test('finetune: another number of classes, the rest of the weights kept', async () => {
  const more = await dataset(join(dir, 'more'), 4, 4, 1);
  const out = join(dir, 'fine');
  const from = join(runs, 'whole', 'var.safetensors');
  const text = await ok([
    ...['finetune', '--from', from, '--vae', join(vae, 'vae.safetensors'), '--data', more, '--bs', '8', '--ep', '1'],
    ...['--tblr', '0', '--twd', '0', '--out', out],
  ]);
  assert.match(text, /all tensors kept but class_emb\.weight: 3 classes before, 4 now; the unconditional row is kept/);
  const [a, b] = [await tensors(from), await tensors(join(out, 'var.safetensors'))];
  for (const [name, bytes] of a) if (name !== 'class_emb.weight') assert.is(b.get(name), bytes, name);
  const rows = (base64: string) => {
    const bytes = Buffer.from(base64, 'base64');
    return Array.from({ length: bytes.length / 256 }, (_, i) => bytes.subarray(256 * i, 256 * (i + 1)).toString('hex'));
  };
  const [old, now] = [rows(a.get('class_emb.weight')!), rows(b.get('class_emb.weight')!)];
  assert.equal([old.length, now.length], [4, 5]);
  assert.is(now[4], old[3]);
  assert.is(new Set(now).size, 5);
});

test('--smoke compares a restored run with one in a row', async () => {
  for (const family of ['vqvae', 'var']) {
    const { code, stdout, stderr } = await nextscale(['train', family, '--smoke', '--threads', '2', '--json']);
    assert.is(code, 0, stderr);
    const { type, different, tensors: count, elements } = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
    assert.is(type, 'smoke');
    assert.equal(different, []);
    assert.ok((count as number) > 20 && (elements as number) > 100_000);
  }
});

test('--json prints one event a line, the result last', async () => {
  const out = join(dir, 'events');
  const { code, stdout } = await nextscale([...vaeArgs(out), '--ep', '1', '--json']);
  assert.is(code, 0);
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; [key: string]: unknown });
  assert.is(events[0]!.type, 'start');
  for (const type of ['step', 'progress', 'epoch', 'eval', 'checkpoint', 'end'])
    assert.ok(
      events.some((e) => e.type === type),
      type,
    );
  assert.is(events.filter((e) => e.type === 'step').length, 4);
  const result = events.at(-1)!;
  assert.equal([result.type, result.status, result.gIt], ['result', 'finished', 4]);
});

test('a run with other options is refused, with their names; what may change may', async () => {
  const out = join(runs, 'whole');
  const { code, stderr } = await nextscale([...varArgs(out), '--depth', '3', '--ls', '0.1']);
  assert.is(code, 2);
  assert.match(stderr, /--depth: the run has 2, given is 3/);
  assert.match(stderr, /--ls: the run has 0, given is 0.1/);
  const longer = await nextscale([...varArgs(out), '--ep', '4', '--keep', '3']);
  assert.is(longer.code, 0, longer.stderr);
  assert.match(longer.stderr, /\[auto_resume success\] .*epoch 3, iteration 0/);
  assert.match(longer.stderr, /options that differ from those of the checkpoint: .*ep 3 -> 4/);
  const never = await nextscale([...varArgs(out), '--resume', 'never']);
  assert.is(never.code, 2);
  assert.match(never.stderr, /holds a run/);
});

test('options from a JSON file; flags win; wrong ones are named', async () => {
  const file = join(dir, 'run.json');
  writeFileSync(file, JSON.stringify({ data_path: data, vae: join(vae, 'vae.safetensors'), depth: 1, width: 64, bs: 8, ep: 2 }));
  const out = join(dir, 'from-file');
  await ok(['train', 'var', '--config', file, '--ep', '1', '--no-anorm', '--out', out]);
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as Record<string, unknown>;
  assert.equal([config.depth, config.ep, config.anorm], [1, 1, false]);
  for (const [args, pattern] of [
    [['train', 'var', '--dept', '3'], /unknown option --dept; did you mean --depth\?/],
    [['train', 'var', '--depth', 'x'], /--depth: got 'x', accepted: an integer from 1 to 256/],
    [['train', 'var', '--data', data], /--vae: nothing was given/],
    [['train', 'vqvae'], /--data_path: nothing was given/],
    [['train', 'vqvae', '--reso', '100'], /reso is 100, accepted: 256/],
    [['train', 'var', '--patch-size', '8', '--data', data, '--vae', join(vae, 'vae.safetensors')], /--patch_size: got '8', accepted: 4/],
    [['train', 'var', '--pn', '1_2_3', '--data', data, '--vae', join(dir, 'absent.pth')], /absent\.pth/],
    [['finetune', '--from', 'x'], /--vae: nothing was given/],
  ] as const) {
    const { code, stderr } = await nextscale(args);
    assert.is(code === 2 || /absent/.test(stderr), true, `${args.join(' ')}: ${code} ${stderr}`);
    assert.match(stderr, pattern);
  }
});

test('--fp16 1 with --graph 1: stopped and resumed without a graph equals uninterrupted', async () => {
  const [whole, stopped] = [join(runs, 'half'), join(runs, 'half-stopped')];
  const args = (out: string, graph: string) => [
    ...['train', 'var', '--data', data, '--vae', join(vae, 'vae.safetensors'), ...VAR_OPTIONS, '--bs', '8', '--ep', '2', '--tblr', '0.05'],
    ...['--fp16', '1', '--graph', graph, '--threads', '2', '--out', out],
  ];
  const text = await ok(args(whole, '1'));
  assert.match(text, /activations, f16 with a scaled loss: about /);
  assert.not.match(text, /not recorded/);
  const seen = logged(whole, 'step') as { scaleLog2: number; skipped: boolean }[];
  assert.ok(
    seen.every(({ scaleLog2, skipped }) => scaleLog2 === 11 && !skipped),
    JSON.stringify(seen),
  );
  await nextscale(args(stopped, '1'), { onStderr: (line) => (line.includes('[Ep]: [   0/2]  [1/3]') ? 'SIGINT' : undefined) });
  await ok(args(stopped, '0'));
  assert.equal(await tensors(join(stopped, 'var.safetensors')), await tensors(join(whole, 'var.safetensors')));
  assert.equal(logged(stopped, 'step'), seen);
  const plain = await ok([...args(join(runs, 'added'), '1'), '--ac', '2']);
  assert.match(plain, /steps are not recorded as graphs: each adds up the gradients of 2 iterations/);
});

test.run();
