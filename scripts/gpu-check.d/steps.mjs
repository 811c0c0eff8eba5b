// The steps of scripts/gpu-check run.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { capture } from '../setup/exec.mjs';
import { runChild } from '../testing/child.mjs';
import { readExitCode, readLastLine, readUvu } from '../testing/counts.mjs';
import { architecture, nvcc } from './machine.mjs';

const left = (c) => (c.until - Date.now()) / 1000;

/** Runs a program within what is left of the step's budget; adds its counts, or a skip where nothing is left. */
async function program(c, name, command, args, { read, env, seconds = Number.POSITIVE_INFINITY }) {
  const timeoutS = Math.min(left(c), seconds);
  if (timeoutS < 5) return c.report.skip(name, 'no time is left in this step');
  const run = await runChild(command, args, { cwd: c.root, env, timeoutS });
  c.report.add(name, read(run), run);
  return run;
}

const pluginOf = (c) => join(c.kit, 'release', 'nextscale_cuda.so');

function nodeEnv(c, device = 'cuda') {
  const paths = [join(c.kit, 'lib'), process.env.LD_LIBRARY_PATH].filter(Boolean);
  const env = { NEXTSCALE_ADDON: c.addon, NEXTSCALE_DEVICE: device, LD_LIBRARY_PATH: paths.join(':'), NEXTSCALE_COMMIT: c.manifest.commit };
  return c.options.ops ? { ...env, NEXTSCALE_OPS: c.options.ops } : env;
}

const suite = (c, file, options = {}) =>
  program(c, `${file}${options.label ?? ''}`, c.node, [join(c.js, file.replace(/\.ts$/, '.js'))], {
    read: readUvu,
    env: { ...nodeEnv(c, options.device), ...options.env },
    seconds: options.seconds,
  });

async function must(c, what, command, args) {
  const run = await runChild(command, args, { cwd: c.root, timeoutS: Math.max(left(c), 5) });
  if (run.code !== 0 || run.problem) throw Object.assign(new Error(`${what}: ${run.problem ?? `exit code ${run.code}`}`), { run });
}

const generator = () => (capture('ninja', ['--version']) ? ['-G', 'Ninja'] : []);

/** The addon of the archive, or where it does not load one that is compiled here, once. */
async function prepareAddon(c) {
  const build = join(c.state, 'build-cpu');
  const loads = (file) => runChild(c.node, ['-e', `require(${JSON.stringify(file)})`], { env: nodeEnv(c), timeoutS: 60 });
  const first = await loads(c.addon);
  if (first.code === 0) return;
  const headers = join(c.kit, 'headers');
  if (!existsSync(join(headers, 'hwy'))) throw Object.assign(new Error('the addon of the archive does not load here'), { run: first });
  console.log('the addon of the archive does not load here: it is compiled from the sources');
  const defines = [`-DNEXTSCALE_HWY_INCLUDE=${headers}`, `-DNEXTSCALE_NODE_HEADERS=${join(headers, 'node')}`, '-DNEXTSCALE_CUDA=OFF'];
  await must(c, 'cmake for the addon', 'cmake', ['-S', c.root, '-B', build, ...generator(), '-DCMAKE_BUILD_TYPE=Release', ...defines]);
  await must(c, 'the build of the addon', 'cmake', ['--build', build, '--parallel', String(availableParallelism())]);
  copyFileSync(join(build, 'Release', 'nextscale.node'), c.addon);
  const second = await loads(c.addon);
  if (second.code !== 0) throw Object.assign(new Error('the addon that was compiled here does not load'), { run: second });
}

async function build(c) {
  if (c.options.plugin) {
    copyFileSync(c.options.plugin, pluginOf(c));
    return c.report.skip('build', `--plugin ${c.options.plugin}`);
  }
  const folder = join(c.state, 'build-cuda');
  const defines = ['-DCMAKE_BUILD_TYPE=Release', '-DNEXTSCALE_CPU=OFF', '-DNEXTSCALE_TESTS=ON'];
  if (c.options.emulated) defines.push('-DNEXTSCALE_EMULATE=ON');
  else defines.push('-DNEXTSCALE_CUDA=ON', `-DNEXTSCALE_CUDA_ARCH=${architecture(c.device)}`, `-DCMAKE_CUDA_COMPILER=${nvcc() ?? 'nvcc'}`);
  const jobs = String(availableParallelism());
  await program(c, 'cmake', 'cmake', ['-S', c.root, '-B', folder, ...generator(), ...defines], { read: readExitCode });
  const plugin = ['--build', folder, '--parallel', jobs, '--target', 'nextscale_cuda'];
  await program(c, 'the plug-in, warnings are errors', 'cmake', plugin, { read: readExitCode });
  if (existsSync(join(folder, 'Release', 'nextscale_cuda.so'))) copyFileSync(join(folder, 'Release', 'nextscale_cuda.so'), pluginOf(c));
  // One program that does not compile keeps no other from being built.
  const rest = ['--build', folder, '--parallel', jobs, '--', ...(generator().length > 0 ? ['-k', '0'] : ['-k'])];
  await program(c, 'the test programs', 'cmake', rest, { read: readExitCode });
}

function programsOf(c) {
  const folder = join(c.state, 'build-cuda', 'cuda');
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^cuda_test_\w+$/.test(name)) : [];
  return names.sort().map((name) => ({ name, path: join(folder, name) }));
}

async function needEngine(c) {
  await prepareAddon(c);
  // A new archive does not undo the build.
  const built = join(c.state, 'build-cuda', 'Release', 'nextscale_cuda.so');
  if (!existsSync(pluginOf(c)) && existsSync(built)) copyFileSync(built, pluginOf(c));
  if (!existsSync(pluginOf(c))) throw new Error('the plug-in is not there: run the step build first');
}

async function tests(c) {
  const programs = programsOf(c);
  if (programs.length === 0) c.report.skip('cuda/test', 'no test program is built');
  for (const { name, path } of programs) await program(c, name, path, [], { read: readLastLine, seconds: 200 });
  await needEngine(c);
  await suite(c, 'test/cuda/engine.test.ts', { seconds: 300 });
  await suite(c, 'test/unit/sample/graph.test.ts', { seconds: 300 });
}

// Attention by a kernel that the environment alone chooses, until it has passed on hardware.
const HOPPER = { NEXTSCALE_CUDA_HOPPER: '1' };
const hasHopper = (c) =>
  (c.options.emulated || c.device.computeCapability === '9.0') && (c.options.ops ?? 'attention').split(',').includes('attention');

/** Both devices are measured by the same float64 definition: ops in every dtype, forward and backward. */
async function parity(c) {
  await needEngine(c);
  for (const name of ['parity', 'fused', 'views']) await suite(c, `test/parity/${name}.test.ts`, { label: ' on cuda' });
  if (hasHopper(c)) {
    const options = { label: ' on cuda with NEXTSCALE_CUDA_HOPPER=1', env: { ...HOPPER, NEXTSCALE_OPS: 'attention' } };
    await suite(c, 'test/parity/parity.test.ts', options);
  }
  await suite(c, 'test/parity/parity.test.ts', { device: 'cpu', label: ' on cpu' });
}

const sanitizer = () =>
  ['compute-sanitizer', '/usr/local/cuda/bin/compute-sanitizer'].find((name) => capture(name, ['--version']) !== null);

async function sanitized(c, tool) {
  if (c.options.emulated) return c.report.skip(tool, 'compute-sanitizer needs a GPU');
  const command = sanitizer();
  if (!command) return c.report.skip(tool, 'compute-sanitizer is not installed');
  const args = ['--tool', tool, '--error-exitcode', '9', '--print-limit', '20'];
  if (tool === 'memcheck') await sanitizedParity(c, command, args);
  // The tests that check a fault on purpose are programs of the emulation, which is not built here.
  for (const { name, path } of programsOf(c))
    await program(c, `${tool} ${name}`, command, [...args, path], { read: readExitCode, seconds: 150 });
}

async function sanitizedParity(c, command, args) {
  await needEngine(c);
  const env = {
    ...nodeEnv(c),
    NEXTSCALE_OPS: c.options.ops ?? 'linear,attention,attention_grad,conv2d,vq_lookup,sample_cfg,group_norm,adamw',
  };
  const child = [...args, '--target-processes', 'all', c.node, join(c.js, 'test/parity/parity.test.js')];
  await program(c, 'memcheck parity', command, child, { read: readExitCode, env, seconds: left(c) * 0.4 });
}

// Cases of photographs need sharp, which is not in the archive: skips.
function readGolden(run) {
  const counts = readLastLine(run);
  const lines = run.stdout.split('\n').filter((line) => / FAIL /.test(line));
  const caseOf = (line) => line.split(' ')[0];
  const without = new Set(lines.filter((line) => /sharp is not in the archive/.test(line)).map(caseOf));
  const left = lines.filter((line) => !without.has(caseOf(line)));
  const skipped = counts.skipped + lines.length - left.length;
  if (left.length === 0 && counts.failed === lines.length && !run.problem) return { passed: counts.passed, failed: 0, skipped };
  return { ...counts, failed: Math.max(counts.failed - (lines.length - left.length), 1), skipped };
}

async function golden(c) {
  await needEngine(c);
  const folders = [join(c.root, 'test', 'golden', 'set'), join(c.kit, 'golden')].filter((folder) => existsSync(folder));
  for (const folder of folders) {
    const args = [join(c.js, 'test/golden/run.js'), folder];
    await program(c, `golden ${folder === folders[0] ? 'set' : 'of the archive'}`, c.node, args, { read: readGolden, env: nodeEnv(c) });
  }
}

function rowsOf(file) {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line));
}

async function measured(c, name, script, args, seconds, variables = {}) {
  await needEngine(c);
  const file = join(c.state, 'bench', `${name}.jsonl`);
  mkdirSync(join(c.state, 'bench'), { recursive: true });
  rmSync(file, { force: true });
  const smoke = c.options.smoke ? ['--smoke'] : [];
  const command = [join(c.js, 'bench', 'gpu', script), '--out', file, ...smoke, ...args];
  const env = { ...nodeEnv(c), ...(existsSync(join(c.kit, 'var')) ? { VAR_REPO: join(c.kit, 'var') } : {}), ...variables };
  const run = await program(c, `bench/gpu/${script} ${args.join(' ')}`.trim(), c.node, command, { read: readExitCode, env, seconds });
  if (run) console.log(run.stdout.trimEnd());
  c.report.rows(rowsOf(file));
}

async function bench(c) {
  await measured(c, 'kernels', 'kernels.js', [], left(c) * 0.5);
  if (hasHopper(c)) await measured(c, 'kernels-hopper', 'kernels.js', ['--only', 'attention,attention_step'], left(c) * 0.3, HOPPER);
  if (!c.options.emulated) await measured(c, 'kernels-own', 'kernels.js', ['--own', '--only', 'linear,linear_grad_w'], left(c) * 0.3);
  await measured(c, 'jobs', 'jobs.js', []);
}

async function peers(c) {
  if (c.options.emulated) return c.report.skip('peers', 'PyTorch on the CPU is no peer of an emulation');
  if (capture(c.options.python, ['-c', 'import torch; assert torch.cuda.is_available()']) === null)
    return c.report.skip('peers', `${c.options.python} has no PyTorch with CUDA`);
  const common = ['--peer', c.options.python, '--scripts', join(c.root, 'bench', 'gpu')];
  await measured(c, 'kernels-torch', 'kernels.js', common, left(c) * 0.5);
  await measured(c, 'jobs-torch', 'jobs.js', common);
}

export const STEPS = {
  build,
  tests,
  parity,
  memcheck: (c) => sanitized(c, 'memcheck'),
  racecheck: (c) => sanitized(c, 'racecheck'),
  golden,
  bench,
  peers,
};
