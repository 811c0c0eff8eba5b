// driver: timeout=900
// The packed package, installed into an empty project: contents, native build, import, require, types, command.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { runChild } from '../../scripts/testing/child.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'nextscale-package-'));
const project = (name: string) => join(folder, name);

const test = suite('package');

async function run(command: string, args: string[], { cwd = folder, timeoutS = 300 } = {}): Promise<string> {
  // The addon of the installed package must be found, not one that the caller points at.
  const result = await runChild(command, args, { cwd, timeoutS, env: { NEXTSCALE_ADDON: '', npm_config_loglevel: 'error' } });
  assert.ok(
    result.code === 0 && !result.problem,
    `${command} ${args.join(' ')}: ${result.problem ?? `exit code ${result.code}`}\n${result.output}`,
  );
  return result.stdout;
}

const node = (name: string, text: string) => {
  writeFileSync(project(name), text);
  return run(process.execPath, [project(name)]);
};

test('npm pack holds what an installation needs and nothing else', async () => {
  const [packed] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root }));
  const names: string[] = packed.files.map((file: { path: string }) => file.path);
  const needed = [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'CMakeLists.txt',
    'binding.gyp',
    'LICENSE',
    'README.md',
    'scripts/setup/install.mjs',
  ];
  for (const name of [...needed, 'native/napi/addon.cpp', 'docs/guide/install.md', 'docs/picture/next-scale.svg'])
    assert.ok(names.includes(name), `${name} is missing`);
  const foreign = names.filter((name) =>
    /^(ts|test|bench|build|node_modules|\.\w+)\/|\.[jt]s\.map$|(^|\/)\.nextscale|^(native|cuda)\/test\/|^cuda\/emulation\//.test(name),
  );
  assert.equal(foreign, []);
  const model = packed.files.filter(({ path }: { path: string }) => path.startsWith('models/'));
  const modelSize = model.reduce((sum: number, { size }: { size: number }) => sum + size, 0);
  assert.ok(modelSize < 13e6, `models: ${modelSize} bytes`);
  assert.ok(packed.unpackedSize - modelSize < 5e6, `${packed.unpackedSize} bytes`);
  writeFileSync(
    project('package.json'),
    JSON.stringify({ name: 'consumer', private: true, dependencies: { nextscale: `file:./${packed.filename}` } }),
  );
});

test('npm install builds the addon', async () => {
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--foreground-scripts'], { timeoutS: 800 });
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.is(JSON.parse(readFileSync(project('node_modules/nextscale/package.json'), 'utf8')).version, version);
});

const WORK = `
async function work({ createEngine, VQVAE }) {
  const engine = await createEngine({ threads: 1 });
  const vqvae = await VQVAE.init(engine, { ch: 32, zChannels: 16, vocabSize: 64, patchNums: [1, 2] });
  const { images } = await vqvae.decode([Int32Array.of(3), Int32Array.of(0, 1, 2, 3)]);
  vqvae.dispose();
  await engine.close();
  return images[0].width + 'x' + images[0].height;
}
`;

test('import works', async () => {
  assert.is(await node('a.mjs', `import * as nextscale from 'nextscale';${WORK}console.log(await work(nextscale));`), '32x32\n');
});

test('require() works', async () => {
  assert.is(await node('a.cjs', `const nextscale = require('nextscale');${WORK}work(nextscale).then(console.log);`), '32x32\n');
});

test('the types are found, from ESM and from CommonJS', async () => {
  const options = {
    module: 'nodenext',
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    strict: true,
    noEmit: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  };
  const text = (check: string) =>
    `import { createEngine, type Engine } from 'nextscale';\nexport const engine: Promise<Engine> = createEngine({ threads: 1 });\n${check}`;
  const wrong = '// @ts-expect-error threads is a number\nexport const bad = createEngine({ threads: "two" });\n';
  writeFileSync(project('tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['esm.mts', 'common.cts'] }));
  for (const name of ['esm.mts', 'common.cts']) writeFileSync(project(name), text(wrong));
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder]);
  assert.ok(true);
});

test('npx nextscale works', async () => {
  assert.match(await run('npx', ['--no-install', 'nextscale', '--help']), 'generate');
  assert.match(await run('npx', ['--no-install', 'nextscale', '--version']), /^\d+\.\d+\.\d+/);
  await run('npx', ['--no-install', 'nextscale', 'doctor']);
});

test.after(() => rmSync(folder, { recursive: true, force: true }));
test.run();
