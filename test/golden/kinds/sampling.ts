// Probabilities that tokens are drawn from, after top-k and top-p.
import type { Engine } from '../../../ts/index.js';
import { type Check, compare, floats, type GoldenCase, type Got, input, type KindRunner, outputs, take } from '../kind.js';

/** Probabilities below this may underflow to zero in one implementation and not in the other. */
const UNDERFLOW = 1e-37;

async function probabilities(c: GoldenCase, engine: Engine, group: string, k: number, p: number): Promise<Got> {
  const { data, shape } = { data: floats(input(c, `${group}/logits`)), shape: input(c, `${group}/logits`).shape };
  const b = shape[0]!;
  const probs = engine.scope(() => {
    const topK = engine.tensor(new Int32Array(b).fill(k), [b]);
    const topP = engine.tensor(new Float32Array(b).fill(p), [b]);
    return engine.ops.softmax(engine.ops.truncateLogits(engine.tensor(data, shape), topK, topP));
  });
  return await take(probs);
}

/** Every row in falling order. */
function sorted({ data, shape }: Got): Got {
  const v = shape.at(-1)!;
  const out = Float32Array.from(data as ArrayLike<number>);
  for (let at = 0; at < out.length; at += v)
    out
      .subarray(at, at + v)
      .sort()
      .reverse();
  return { data: out, shape };
}

function support(c: GoldenCase, name: string, got: Got): Check {
  const want = floats(input(c, name));
  let wrong = 0;
  for (let i = 0; i < want.length; i++)
    if (want[i]! > 0 !== Number(got.data[i]) > 0 && Math.max(want[i]!, Number(got.data[i])) >= UNDERFLOW) wrong++;
  return { tensor: `${name}:support`, maxAbsErr: wrong, tolerance: 0, ok: wrong === 0 };
}

export const run: KindRunner = async (c, { engine }) => {
  const checks: Check[] = [];
  for (const name of outputs(c)) {
    const match = /^(.+)\/k(\d+)-p([\d.]+)(\/sorted)?$/.exec(name);
    if (!match) continue;
    const table = await probabilities(c, engine, match[1]!, Number(match[2]), Number(match[3]));
    const got = match[4] ? sorted(table) : table;
    checks.push(compare(c, name, got), support(c, name, got));
  }
  return checks;
};
