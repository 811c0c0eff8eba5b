// The JavaScript of the archive: every file that the entries import, transpiled one by one into the same folders, so that paths relative to
// import.meta.url stay true; and the packages they name, copied.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const ENTRIES = [
  'ts/cli/main.ts',
  'test/parity/*.test.ts',
  'test/reference/*.ts',
  'test/golden/run.ts',
  'test/golden/kinds/*.ts',
  'test/cuda/engine.test.ts',
  'test/cuda/scenario.ts',
  'test/unit/sample/graph.test.ts',
  'bench/gpu/*.ts',
];
// Read at run time.
const DATA = ['package.json', 'native/abi/ops.json'];
const PACKAGES = ['uvu', 'zod', 'commander', 'cli-progress', 'typed-emitter'];
const NO_SHARP = `const refuse = () => { throw new Error('sharp is not in the archive'); };
export default new Proxy(refuse, { get: (_, name) => (name === 'then' ? undefined : refuse) });\n`;

// esbuild comes with tsx.
function esbuild(root) {
  const own = createRequire(join(root, 'package.json'));
  return createRequire(own.resolve('tsx/package.json'))('esbuild');
}

function expand(root, pattern) {
  const [folder, name] = [dirname(pattern), pattern.slice(dirname(pattern).length + 1)];
  if (!name.startsWith('*')) return [pattern];
  const files = existsSync(join(root, folder)) ? readdirSync(join(root, folder)) : [];
  return files.filter((file) => file.endsWith(name.slice(1))).map((file) => `${folder}/${file}`);
}

function copyPackage(root, name, to, seen) {
  if (seen.has(name)) return;
  seen.add(name);
  const from = join(root, 'node_modules', name);
  const keep = (path) => !/\.(d\.[cm]?ts|[cm]?ts|map|md|flow)$|\/(src|docs?|tests?|examples?|bench\w*)$/.test(path.slice(from.length));
  cpSync(from, join(to, 'node_modules', name), { recursive: true, dereference: true, filter: keep });
  const { dependencies = {} } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'));
  for (const dependency of Object.keys(dependencies)) copyPackage(root, dependency, to, seen);
}

/** Writes the tree to the folder `to`; returns the sources it was made of. */
export async function writeTree(root, to) {
  const { build, transform } = esbuild(root);
  const entryPoints = ENTRIES.flatMap((pattern) => expand(root, pattern));
  const options = { bundle: true, write: false, metafile: true, packages: 'external', platform: 'node', format: 'esm', outdir: 'unused' };
  const { metafile } = await build({ ...options, absWorkingDir: root, entryPoints, logLevel: 'error' });
  const sources = Object.keys(metafile.inputs).sort();
  for (const source of sources) {
    const text = readFileSync(join(root, source), 'utf8');
    const { code } = await transform(text, { loader: 'ts', format: 'esm', target: 'node20', sourcefile: source });
    const out = join(to, source.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, code);
  }
  for (const name of DATA) {
    mkdirSync(dirname(join(to, name)), { recursive: true });
    cpSync(join(root, name), join(to, name));
  }
  const seen = new Set();
  for (const name of PACKAGES) copyPackage(root, name, to, seen);
  const sharp = join(to, 'node_modules', 'sharp');
  mkdirSync(sharp, { recursive: true });
  writeFileSync(join(sharp, 'package.json'), '{ "name": "sharp", "type": "module", "exports": "./index.js" }\n');
  writeFileSync(join(sharp, 'index.js'), NO_SHARP);
  return sources;
}
