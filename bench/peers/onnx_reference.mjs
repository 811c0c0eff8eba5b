// Serves onnxruntime-node to bench/peers/onnx.ts: one JSON request per line on stdin, one JSON answer per line on stdout; tensors travel as
// files of little-endian f32. The package is looked for in the folder given as the first argument, the models in the second.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [packages, models, threads] = process.argv.slice(2);
const ort = createRequire(join(packages, 'package.json'))('onnxruntime-node');
const sessions = new Map();

async function session(name) {
  if (!sessions.has(name)) {
    const options = {
      intraOpNumThreads: Number(threads),
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
      executionProviders: ['cpu'],
    };
    sessions.set(name, await ort.InferenceSession.create(join(models, `${name}.onnx`), options));
  }
  return sessions.get(name);
}

function floats(path) {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

const save = (path, data) => writeFileSync(path, Buffer.from(data.buffer, data.byteOffset, data.byteLength));

/** One input, one output. */
async function single({ model, input, output, shape, file, into }) {
  const run = await session(model);
  const x = new ort.Tensor('float32', floats(file), shape);
  const start = performance.now();
  const result = await run.run({ [input]: x });
  const seconds = (performance.now() - start) / 1000;
  if (into) save(into, result[output].data);
  return { seconds };
}

/** All block stacks of the scales in turn, each with the keys and values of those before; only the runs are timed. */
async function blocks({ sides, depth, rows, width, heads, cond, files, into }) {
  const run = await session('blocks');
  const c = new ort.Tensor('float32', floats(cond), [rows, width]);
  const empty = () => new ort.Tensor('float32', new Float32Array(0), [depth, rows, heads, 0, width / heads]);
  let [k, v] = [empty(), empty()];
  const perScale = [];
  for (const [si, side] of sides.entries()) {
    const x = new ort.Tensor('float32', floats(files[si]), [rows, side * side, width]);
    const start = performance.now();
    const result = await run.run({ x, cond: c, past_k: k, past_v: v });
    perScale.push((performance.now() - start) / 1000);
    [k, v] = [result.k, result.v];
    if (into) save(into[si], result.y.data);
  }
  return { seconds: perScale.reduce((a, b) => a + b, 0), perScale };
}

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
answer({
  ready: true,
  torch: `onnxruntime-node ${createRequire(join(packages, 'package.json'))('onnxruntime-node/package.json').version}`,
});
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  answer(request.cmd === 'blocks' ? await blocks(request) : await single(request));
}
