// Models small enough for a test of milliseconds, with seeded random weights.

import * as assert from 'uvu/assert';
import { ArgumentError, type Engine, VAR, type VarCreateOptions, VQVAE, type VqvaeInitOptions } from '../../../ts/index.js';

export const SMALL_VQVAE = {
  ch: 32,
  chMult: [1, 1, 2],
  numResBlocks: 1,
  zChannels: 8,
  vocabSize: 32,
  patchNums: [1, 2, 3],
} satisfies VqvaeInitOptions;

/** A strong head, so that the tokens depend on everything in front of it. */
export const SMALL_VAR = {
  config: { depth: 2, embedDim: 64, numHeads: 2, numClasses: 5 },
  initHead: 20,
  initAdalnGamma: 0.5,
  seed: 2,
} satisfies Omit<VarCreateOptions, 'vqvae'>;

export interface Small {
  readonly vqvae: VQVAE;
  readonly model: VAR;
  dispose(): void;
}

export async function small(engine: Engine): Promise<Small> {
  const vqvae = await VQVAE.init(engine, { ...SMALL_VQVAE, seed: 1 });
  const model = await VAR.init(engine, { ...SMALL_VAR, vqvae });
  const dispose = () => {
    model.dispose();
    vqvae.dispose();
  };
  return { vqvae, model, dispose };
}

export async function liveBytes(engine: Engine): Promise<number> {
  await engine.flush();
  return engine.memory().liveBytes;
}

/** The error that `work` rejects with; fails where it does not. */
export async function rejection(work: PromiseLike<unknown> | (() => PromiseLike<unknown>)): Promise<Error> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    assert.instance(error, Error);
    return error as Error;
  }
  throw new Error('expected a rejection, the work succeeded');
}

/** Asserts that `work` is refused by an ArgumentError whose message holds all of `parts`. */
export async function refused(work: PromiseLike<unknown> | (() => PromiseLike<unknown>), ...parts: string[]): Promise<void> {
  const error = await rejection(work);
  assert.instance(error, ArgumentError, `${error.name}: ${error.message}`);
  for (const part of parts) assert.ok(error.message.includes(part), `${JSON.stringify(part)} is not in: ${error.message}`);
}

export const tokensOf = (tokens: readonly Int32Array[]): number[][] => tokens.map((map) => [...map]);

/** Tokens of image i of a batch of n. */
export const imageTokens = (tokens: readonly Int32Array[], i: number, n: number): number[][] =>
  tokens.map((map) => [...map.subarray((i * map.length) / n, ((i + 1) * map.length) / n)]);
