import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type EngineOptions, VAR, VQVAE } from '../../../ts/index.js';
import { SMALL_VQVAE } from './kit.js';

const test = suite('event loop');

/** Turns of the event loop while work is pending, per command that the engine executes meanwhile. */
async function turnsPerCommand(engine: Engine, work: () => PromiseLike<unknown>): Promise<number> {
  let turns = 0;
  let pending = true;
  const turn = () => {
    turns++;
    if (pending) setImmediate(turn);
  };
  const before = engine.stats().commands;
  setImmediate(turn);
  await work();
  pending = false;
  return turns / (engine.stats().commands - before);
}

/** Waits for the worker as a call that blocks would. */
function block(engine: Engine): void {
  while (engine.stats().inFlightCommands > 0);
}

async function measure(options: EngineOptions, spoil?: (engine: Engine) => void): Promise<number> {
  await using engine = await createEngine(options);
  await using vqvae = await VQVAE.init(engine, { ...SMALL_VQVAE, seed: 1 });
  await using model = await VAR.init(engine, { vqvae, config: { depth: 12, embedDim: 384, numHeads: 6, numClasses: 5 }, seed: 2 });
  await engine.flush();
  spoil?.(engine);
  return await turnsPerCommand(engine, () => model.generate({ labels: [0, 1, 2, 3], seed: 2 }));
}

/** Every command takes a while and no CPU. */
const SLOW: EngineOptions = { device: 'null', fault: { delayUs: 200 } };
/** Far below a loop that is free, far above one that stands still for whole steps: it turns once per await of the generation. */
const LEAST = 0.25;

for (const [name, options] of Object.entries({ cpu: {}, 'a slow device': SLOW })) {
  test(`the loop turns while ${name} executes the commands of a generation`, async () => {
    const turns = await measure(options);
    assert.ok(turns > LEAST, `${turns.toFixed(3)} turns per command`);
  });
}

test('a generation that waits for its steps on the thread of JavaScript is told by that', async () => {
  const turns = await measure(SLOW, (engine) => {
    const { throttle } = engine;
    engine.throttle = async () => {
      await throttle.call(engine);
      block(engine);
    };
  });
  assert.ok(turns < LEAST, `${turns.toFixed(3)} turns per command`);
});

test.run();
