// Finds golden cases, runs each with the file of its kind, and reports one line per tensor.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { createEngine, type Engine, openCheckpoint } from '../../ts/index.js';
import type { CaseJson, Check, GoldenCase, IoData, IoTensor, KindRunner } from './kind.js';
import { outputs } from './kind.js';

const FAMILIES = ['var'];

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Folders below `dir` (or itself) that hold a case.json, sorted. */
export function findCases(dir: string): string[] {
  const found = existsSync(join(dir, 'case.json')) ? [dir] : [];
  const below = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...found, ...below.flatMap((entry) => findCases(join(dir, entry.name)))].sort();
}

const ARRAYS: Readonly<Record<string, (bytes: ArrayBuffer) => IoData>> = {
  f32: (b) => new Float32Array(b),
  f64: (b) => new Float64Array(b),
  i64: (b) => new BigInt64Array(b),
  i32: (b) => new Int32Array(b),
  i16: (b) => new Int16Array(b),
  i8: (b) => new Int8Array(b),
  u8: (b) => new Uint8Array(b),
  bool: (b) => new Uint8Array(b),
  f16: (b) => new Uint16Array(b),
  bf16: (b) => new Uint16Array(b),
};

async function readIo(path: string): Promise<Map<string, IoTensor>> {
  const file = await openCheckpoint(path, { root: '' });
  const io = new Map<string, IoTensor>();
  for (const key of file.keys()) {
    const { dtype, shape } = file.info(key);
    const bytes = Uint8Array.from(await file.bytes(key));
    const make = ARRAYS[dtype];
    if (!make) throw new Error(`${path}: ${key} has dtype ${dtype}`);
    io.set(key, { dtype, shape, data: make(bytes.buffer) });
  }
  file.close();
  return io;
}

export async function loadCase(dir: string, root: string): Promise<GoldenCase> {
  const json = JSON.parse(readFileSync(join(dir, 'case.json'), 'utf8')) as CaseJson;
  const io = json.io ? await readIo(join(dir, json.io)) : new Map<string, IoTensor>();
  return { dir, name: relative(root, dir) || json.case, json, io };
}

/** The file of a kind, or why its family has none. */
function kindFile(json: CaseJson): { file: string } | { skip: string } {
  if (!FAMILIES.includes(json.family)) return { skip: `family ${json.family} is not built yet` };
  const kind = json.kind ?? '';
  const file = join(dirname(fileURLToPath(import.meta.url)), 'kinds', `${kind}${extname(import.meta.url)}`);
  if (/^[a-z-]+$/.test(kind) && existsSync(file)) return { file };
  throw new Error(`unknown kind ${JSON.stringify(json.kind)}`);
}

async function runCase(dir: string, root: string, engine: Engine): Promise<{ name: string; checks: Check[]; skip?: string }> {
  const name = relative(root, dir) || dir;
  const failure = (error: unknown): Check => ({
    tensor: '-',
    maxAbsErr: Number.NaN,
    tolerance: 0,
    ok: false,
    note: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
  });
  let c: GoldenCase | undefined;
  let checks: Check[];
  try {
    const kind = kindFile(JSON.parse(readFileSync(join(dir, 'case.json'), 'utf8')) as CaseJson);
    if ('skip' in kind) return { name, checks: [], skip: kind.skip };
    c = await loadCase(dir, root);
    const { run } = (await import(pathToFileURL(kind.file).href)) as { run: KindRunner };
    checks = await run(c, { engine });
    if (checks.length === 0) throw new Error('the kind checked nothing');
  } catch (error) {
    checks = [failure(error)];
  }
  const seen = new Set(checks.map((check) => check.tensor));
  for (const tensor of c ? outputs(c) : [])
    if (!seen.has(tensor)) checks.push({ tensor, maxAbsErr: Number.NaN, tolerance: 0, ok: false, note: 'not checked' });
  return { name, checks };
}

const number = (value: number) => (Number.isNaN(value) ? 'nan' : value.toExponential(2));

/** NEXTSCALE_DEVICE chooses it: the same cases hold on every device. */
const device = (): 'cpu' | 'cuda' => (process.env.NEXTSCALE_DEVICE === 'cuda' ? 'cuda' : 'cpu');

/** Runs all cases below the folders; `print` gets the report line by line. */
export async function runGolden(dirs: readonly string[], print: (line: string) => void): Promise<Counts> {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const engine = await createEngine({ device: device() });
  try {
    for (const root of dirs) {
      const cases = existsSync(root) ? findCases(root) : [];
      if (cases.length === 0) {
        print(`${root} - nan 0 FAIL no case.json below this folder`);
        counts.failed++;
      }
      for (const dir of cases) {
        const { name, checks, skip } = await runCase(dir, root, engine);
        if (skip) {
          print(`${name} SKIP ${skip}`);
          counts.skipped++;
        }
        for (const { tensor, maxAbsErr, tolerance, ok, note, skipped } of checks) {
          if (skipped) print(`${name} SKIP ${tensor} ${note ?? ''}`.trimEnd());
          else print(`${name} ${tensor} ${number(maxAbsErr)} ${number(tolerance)} ${ok ? 'ok' : `FAIL${note ? ` ${note}` : ''}`}`);
          counts[skipped ? 'skipped' : ok ? 'passed' : 'failed']++;
        }
      }
    }
  } finally {
    await engine.close().catch(() => {});
  }
  print(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts;
}
