// driver: timeout=900
// Every fenced block of README.md and docs/guide runs; see docs/inside/testing.md.
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { capture } from '../../scripts/setup/exec.mjs';
import { ensureAddon, ensurePlugin } from '../../scripts/setup/native.mjs';
import { runChild } from '../../scripts/testing/child.mjs';
import { VAR_FIELDS } from '../../ts/train/config/var.js';
import { VQVAE_FIELDS } from '../../ts/train/config/vqvae.js';
import { type Block, blocksOf, commandsOf, kindOf, setupProblem } from './blocks.js';
import { makeFolder, writeSamples } from './folder.js';

const BLOCK_TIMEOUT_S = 180;

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const guide = readdirSync(join(root, 'docs/guide')).filter((name) => name.endsWith('.md'));
const documents = ['README.md', ...guide.sort().map((name) => `docs/guide/${name}`)];
const samples = mkdtempSync(join(tmpdir(), 'nextscale-samples-'));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const tsx = import.meta.resolve('tsx');

const test = suite('documentation');

// The blocks of this page compute on the device cuda: on the emulation, where there is no GPU.
const GPU_PAGE = 'docs/guide/gpu.md';

async function gpuAddon(): Promise<string> {
  const addon = await ensureAddon(root);
  if (capture('nvidia-smi', ['-L'])) return addon;
  const { plugin } = await ensurePlugin(root, { variant: 'emulated' });
  const copy = join(dirname(plugin), 'nextscale.node');
  copyFileSync(addon, copy);
  return copy;
}

test.before(async () => {
  assert.ok(existsSync(join(root, 'dist/cli/main.js')), 'dist/ is missing: run npm run build');
  await writeSamples(samples);
});
test.after(() => rmSync(samples, { recursive: true, force: true }));

async function expectSuccess(place: string, command: string, args: string[], cwd: string, env: Record<string, string>) {
  const run = await runChild(command, args, { cwd, env, timeoutS: BLOCK_TIMEOUT_S });
  assert.ok(run.code === 0 && !run.problem, `${place}: ${run.problem ?? `exit code ${run.code}`}\n${run.output}`);
}

async function runBlock(block: Block, place: string, folder: string, env: Record<string, string>) {
  const kind = kindOf(block);
  const file = join(folder, `line-${block.line}.${kind}`);
  assert.is.not(kind, 'unlabelled', `${place}: the fence names no language`);
  if (kind === 'setup') {
    for (const line of commandsOf(block.text)) assert.is(setupProblem(line, manifest), null, place);
  } else if (kind === 'sh') {
    await expectSuccess(place, 'bash', ['-euo', 'pipefail', '-c', block.text], folder, env);
  } else if (kind !== 'shown') {
    writeFileSync(file, block.text);
    if (kind === 'ts') {
      const tsc = join(root, 'node_modules/typescript/bin/tsc');
      await expectSuccess(`${place} (types)`, process.execPath, [tsc, '-p', folder], folder, env);
    }
    await expectSuccess(place, process.execPath, ['--import', tsx, file], folder, env);
    rmSync(file);
  }
}

for (const document of documents) {
  test(document, async () => {
    const { folder, env: plain } = makeFolder(root, samples);
    const env = document === GPU_PAGE ? { ...plain, NEXTSCALE_ADDON: await gpuAddon() } : plain;
    try {
      for (const block of blocksOf(readFileSync(join(root, document), 'utf8')))
        await runBlock(block, `${document}:${block.line}`, folder, env);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

for (const document of documents) {
  test(`links of ${document}`, () => {
    const text = readFileSync(join(root, document), 'utf8').replace(/^```[\s\S]*?^```/gm, '');
    const targets = [...text.matchAll(/(?:\]\(|(?:src|href)=")([^)"#]+)/g)]
      .map((match) => match[1]!)
      .filter((target) => !/^[a-z]+:/.test(target));
    for (const target of targets) assert.ok(existsSync(join(root, dirname(document), target)), `${document}: ${target} does not exist`);
  });
}

test('docs/inside names files that exist', () => {
  for (const name of readdirSync(join(root, 'docs/inside'))) {
    const text = readFileSync(join(root, 'docs/inside', name), 'utf8');
    const paths = [...text.matchAll(/`((?:ts|native|scripts|test|bench|docs|cuda)\/[\w./-]*\.\w+)`/g)].map((match) => match[1]!);
    for (const path of paths) assert.ok(existsSync(join(root, path)), `docs/inside/${name}: ${path} does not exist`);
    const links = [...text.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1]!);
    for (const link of links) assert.ok(existsSync(join(root, 'docs/inside', link)), `docs/inside/${name}: ${link} does not exist`);
  }
});

test('the guide knows every option of training', () => {
  const text = readFileSync(join(root, 'docs/guide/training.md'), 'utf8');
  const missing = Object.keys({ ...VQVAE_FIELDS, ...VAR_FIELDS }).filter((name) => !new RegExp(`--${name}\\b`).test(text));
  assert.equal(missing, []);
});

test('a broken block is found', async () => {
  const { folder, env } = makeFolder(root, samples);
  const failing = [
    { language: 'sh', text: 'nextscale no-such-command\n' },
    { language: 'sh', text: 'false\ntrue\n' },
    { language: 'ts', text: "import { noSuchName } from 'nextscale';\nnoSuchName();\n" },
    { language: 'ts', text: "const n: number = 'text';\nexport {};\n" },
    { language: 'ts', text: "throw new Error('at run time');\nexport {};\n" },
    { language: 'cjs', text: "require('nextscale').noSuchName();\n" },
    { language: '', text: 'unlabelled\n' },
    { language: 'sh', text: 'npm run no-such-script\n' },
  ];
  for (const [i, block] of failing.entries()) {
    const error = await runBlock({ ...block, line: i }, 'here', folder, env).then(
      () => null,
      (e: Error) => e,
    );
    assert.ok(error, `block ${i} passed`);
    rmSync(join(folder, `line-${i}.ts`), { force: true });
  }
  rmSync(folder, { recursive: true, force: true });
});

test.run();
