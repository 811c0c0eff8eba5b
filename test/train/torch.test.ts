// driver: timeout=300
// The checkpoints of runs open in PyTorch: equal tensors, the reference's layout, and an optimizer that takes its state back.
// Needs a Python with torch (NEXTSCALE_TEST_PYTHON names further ones); without one the tests count as skipped.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../../ts/checkpoint/index.js';
import { createEngine } from '../../ts/engine/index.js';
import type { RunParts } from '../../ts/train/build.js';
import { buildVar } from '../../ts/train/build-var.js';
import { buildVqvae } from '../../ts/train/build-vqvae.js';
import { varArgs } from '../../ts/train/config/var.js';
import { vqvaeArgs } from '../../ts/train/config/vqvae.js';
import { train } from '../../ts/train/index.js';
import { folder } from './support.js';

const test = suite('torch');
const ENV = { ...process.env, LD_PRELOAD: '' };

function python(): string | undefined {
  const candidates = [...(process.env.NEXTSCALE_TEST_PYTHON?.split(':') ?? []), 'python3', '/usr/bin/python3'];
  return candidates.find((path) => {
    try {
      execFileSync(path, ['-c', 'import torch'], { stdio: 'ignore', timeout: 60_000, env: ENV });
      return true;
    } catch {
      return false;
    }
  });
}

const SCRIPT = `
import hashlib, json, sys, torch
path, key, model = sys.argv[1:4]
try: d = torch.load(path, map_location='cpu', weights_only=False)
except TypeError: d = torch.load(path, map_location='cpu')
assert set(d) >= {'epoch', 'iter', 'trainer', 'args'}, d.keys()
state = d['trainer'][model]
saved = d['trainer'][key]['optimizer']
sha = lambda t: hashlib.sha256(t.detach().contiguous().reshape(-1).numpy().tobytes()).hexdigest() if t.dtype != torch.bool else 'bool'
found = json.dumps(dict(
    epoch=d['epoch'], iter=d['iter'], args={k: d['args'][k] for k in ('tblr', 'ep', 'bs')},
    lr=[g['lr'] for g in saved['param_groups']], wd=[g['wd_sc'] for g in saved['param_groups']],
    steps=sorted({float(s['step']) for s in saved['state'].values()}), count=len(saved['state']),
    tensors={k: [list(v.shape), sha(v)] for k, v in state.items()},
    moments=sha(saved['state'][0]['exp_avg_sq'])))
shapes = [tuple(saved['state'][i]['exp_avg'].shape) for i in range(len(saved['state']))]
groups = [dict(params=[torch.nn.Parameter(torch.zeros(shapes[i])) for i in g['params']]) for g in saved['param_groups']]
opt = torch.optim.AdamW(groups, lr=1)
opt.load_state_dict(saved)
for g in opt.param_groups:
    for p in g['params']: p.grad = torch.ones_like(p)
opt.step()
print(found)
`;

interface Dump {
  epoch: number;
  iter: number;
  args: Record<string, number>;
  lr: number[];
  wd: number[];
  steps: number[];
  count: number;
  tensors: Record<string, [number[], string]>;
  moments: string;
}

async function check(parts: RunParts, args: Record<string, unknown>, key: string, path: string): Promise<void> {
  const dir = folder();
  const result = await train({ ...parts, args, out: dir });
  const script = join(dir, 'dump.py');
  writeFileSync(script, SCRIPT);
  const text = execFileSync(path, [script, result.checkpoint!, key, parts.stateKey], { stdio: 'pipe', timeout: 120_000, env: ENV });
  const dump = JSON.parse(text.toString()) as Dump;
  assert.equal([dump.epoch, dump.iter], [1, 0]);
  assert.equal(dump.args, { tblr: args.tblr, ep: args.ep, bs: args.bs });
  assert.equal(new Set(dump.wd), new Set([0, 1]));
  assert.equal(dump.steps, [parts.batches.iters]);
  assert.is(dump.count, parts.task.params.names.length);
  const file = await openCheckpoint(result.checkpoint!, { root: `trainer.${parts.stateKey}` });
  assert.equal(Object.keys(dump.tensors).sort(), file.keys().sort());
  for (const name of file.keys()) {
    const [shape, sha] = dump.tensors[name]!;
    assert.equal(shape, file.info(name).shape, name);
    if (file.info(name).dtype === 'bool') continue;
    const bytes = await file.bytes(name);
    assert.is(sha, createHash('sha256').update(bytes).digest('hex'), name);
  }
  for (const name of parts.task.params.names) {
    const live = (await parts.task.params.get(name).read()) as Float32Array;
    assert.equal(new Float32Array((await file.bytes(name)).slice().buffer), live, name);
  }
  file.close();
}

const found = python();
const tiny = { bs: 16, ep: 1, tblr: 0.01 };

if (found === undefined) test.skip('no Python with torch was found (NEXTSCALE_TEST_PYTHON)', () => undefined);
else {
  test('ar-ckpt-last.pth', async () => {
    await using engine = await createEngine({ threads: 2 });
    const args = varArgs({ ...tiny, depth: 2, width: 64, pn: '1_2_4' });
    const parts = await buildVar(engine, args, { synthetic: true });
    await check(parts, { ...args }, 'var_opt', found);
    await parts.close();
  });

  test('vae-ckpt-last.pth', async () => {
    await using engine = await createEngine({ threads: 2 });
    const sizes = { ch: 32, ch_mult: '1_1_2', num_res_blocks: 1, pn: '1_2_4', V: 32, Cvae: 8, kmeans_batches: 1 };
    const args = vqvaeArgs({ ...tiny, ...sizes });
    const parts = await buildVqvae(engine, args, { synthetic: true });
    await check(parts as unknown as RunParts, { ...args }, 'vae_opt', found);
    await parts.close();
  });
}

test.run();
