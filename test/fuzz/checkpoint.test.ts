// Seeded mutations of good files: every outcome is success or CheckpointError, in bounded time and memory. NEXTSCALE_FUZZ_ROUNDS and
// NEXTSCALE_FUZZ_SEED repeat or extend a run.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { OrderedDict, openCheckpoint, PyFloat, PyTuple, writePth, writeSafetensors } from '../../ts/checkpoint/index.js';
import { CheckpointError } from '../../ts/core/errors.js';
import { bytesOf, dictPickle, pth, tensor, text } from '../unit/checkpoint/pickles.js';
import { temporaryFolder } from '../unit/checkpoint/temporary.js';

const ROUNDS = Number(process.env.NEXTSCALE_FUZZ_ROUNDS ?? 600);
const SEED = Number(process.env.NEXTSCALE_FUZZ_SEED ?? 20240917);
/** For one file of at most a few KB, on a loaded machine. */
const MAX_MS = 2000;
const MAX_GROWTH = 300 * 2 ** 20;

const test = suite(`fuzzed checkpoints (seed ${SEED}, ${ROUNDS} rounds each)`);
const folder = temporaryFolder();

type Random = () => number;

/** Mulberry32: uniform in [0, 1). */
function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x10000];

type Mutation = (bytes: Buffer, random: Random) => Buffer;

const pick = (n: number, random: Random): number => Math.floor(random() * n);

const MUTATIONS: Mutation[] = [
  (bytes, random) => {
    bytes[pick(bytes.length, random)]! ^= 1 << pick(8, random);
    return bytes;
  },
  (bytes, random) => {
    bytes[pick(bytes.length, random)] = pick(256, random);
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, pick(bytes.length, random)),
  (bytes, random) => {
    if (bytes.length > 8) bytes.writeUInt32LE(INTERESTING[pick(INTERESTING.length, random)]!, pick(bytes.length - 4, random));
    return bytes;
  },
  (bytes, random) => {
    const at = pick(bytes.length, random);
    const n = pick(32, random);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(at + n, bytes.length))]);
  },
  (bytes, random) => {
    const from = pick(bytes.length, random);
    const chunk = bytes.subarray(from, from + pick(64, random));
    const at = pick(bytes.length, random);
    return Buffer.concat([bytes.subarray(0, at), chunk, bytes.subarray(at)]);
  },
  // Digits of JSON headers and of sizes written as text.
  (bytes, random) => {
    const digits = [...bytes.keys()].filter((i) => bytes[i]! >= 0x30 && bytes[i]! <= 0x39);
    if (digits.length > 0) bytes[digits[pick(digits.length, random)]!] = 0x30 + pick(10, random);
    return bytes;
  },
];

function mutate(good: Uint8Array, random: Random): Buffer {
  let bytes = Buffer.from(good);
  for (let n = 1 + pick(3, random); n > 0 && bytes.length > 0; n--)
    bytes = Buffer.from(MUTATIONS[pick(MUTATIONS.length, random)]!(bytes, random));
  return bytes;
}

/** Opens a file, reads everything in it, and reports how that ended. */
async function outcome(path: string): Promise<'success' | 'refused'> {
  try {
    const checkpoint = await openCheckpoint(path, { root: '' });
    for (const key of checkpoint.keys()) await checkpoint.bytes(key);
    checkpoint.plain();
    return 'success';
  } catch (error) {
    if (error instanceof CheckpointError && error.cause === undefined) return 'refused';
    throw error;
  }
}

async function seeds(): Promise<Map<string, Uint8Array>> {
  const f32 = { dtype: 'f32' as const, shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
  const i64 = { dtype: 'i64' as const, shape: [2], data: BigInt64Array.of(1n, -1n) };
  const pthPath = join(folder, 'seed.pth');
  const stPath = join(folder, 'seed.safetensors');
  await writePth(pthPath, {
    state_dict: new OrderedDict([
      ['w', f32],
      ['i', i64],
    ] as never),
    lr: new PyFloat(0.1),
    t: new PyTuple([1, 'a', null]),
    n: 2n ** 65n,
  } as never);
  await writeSafetensors(stPath, { w: f32, i: i64 }, { format: 'pt' });
  const storage = new Uint8Array(f32.data.buffer);
  return new Map([
    ['pth', readFileSync(pthPath)],
    ['safetensors', readFileSync(stPath)],
    ['view', pth(dictPickle('w', tensor('0', 6, 1, [2, 2], [2, 1])), storage)],
    ['legacy', legacy(dictPickle('w', tensor('0', 6, 0, [2, 3], [3, 1])), storage)],
  ]);
}

/** The container of torch before 1.6 with one storage. */
function legacy(pickle: Uint8Array, storage: Uint8Array): Uint8Array {
  const magic = bytesOf('\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.');
  const system = bytesOf('\x80\x02}', text('little_endian'), '\x88s.');
  return bytesOf(magic, '\x80\x02M\xe9\x03.', system, pickle, '\x80\x02](', text('0'), 'e.', storage.length / 4, 0, storage);
}

const good = await seeds();

for (const [kind, bytes] of good) {
  test(`${kind}: the file itself loads`, async () => {
    const path = join(folder, `good.${kind}`);
    writeFileSync(path, bytes);
    assert.is(await outcome(path), 'success');
  });

  test(`${kind}: mutations load or are refused`, async () => {
    const random = randomOf(SEED);
    const counts = { success: 0, refused: 0 };
    const before = process.memoryUsage().rss;
    for (let round = 0; round < ROUNDS; round++) {
      const path = join(folder, `fuzz.${kind}`);
      writeFileSync(path, mutate(bytes, random));
      const start = performance.now();
      try {
        counts[await outcome(path)]++;
      } catch (error) {
        throw new Error(`round ${round} of seed ${SEED} (${kind}): ${error instanceof Error ? error.stack : String(error)}`);
      }
      const ms = performance.now() - start;
      assert.ok(ms < MAX_MS, `round ${round} of seed ${SEED} (${kind}) took ${ms.toFixed(0)} ms`);
    }
    const growth = process.memoryUsage().rss - before;
    assert.ok(growth < MAX_GROWTH, `memory grew by ${growth} bytes`);
    assert.ok(counts.refused > ROUNDS / 10 && counts.success > 0, `${JSON.stringify(counts)}: the mutations do not reach the parsers`);
  });
}

test.run();
