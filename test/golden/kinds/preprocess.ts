// Validation transform on image files, as bytes and as the model's input.
import { join } from 'node:path';
import { openCheckpoint } from '../../../ts/checkpoint/index.js';
import { decodeImage, preprocess, resizeCrop } from '../../../ts/data/index.js';
import { numbersOf } from '../../unit/checkpoint/numbers.js';
import type { Check, KindRunner } from '../kind.js';

interface PreprocessCase {
  config: { settings: { final_reso: number; mid_reso: number }[] };
  files: { file: string; width: number; height: number }[];
  io: string;
}

/** u8_tolerance of the case: decoders of JPEG differ in IDCT and chroma upsampling. */
const LEVELS = { lossless: { max: 1, mean: 1 }, jpeg: { max: 8, mean: 0.5 } } as const;

/** Differences of HWC results from CHW expectations, in levels. */
function compare(got: ArrayLike<number>, want: readonly number[], levels: number): { max: number; mean: number } {
  const pixels = want.length / 3;
  let max = got.length === want.length ? 0 : Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < pixels; i++) {
      const error = Math.abs(got[3 * i + c]! - want[c * pixels + i]!) * levels;
      max = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(max, error);
      sum += error;
    }
  }
  return { max, mean: sum / want.length };
}

export const run: KindRunner = async (c, { engine }) => {
  const { config, files, io } = c.json as unknown as PreprocessCase;
  const expected = await openCheckpoint(join(c.dir, io), { root: '' });
  const checks: Check[] = [];
  for (const { file, width, height } of files) {
    const image = await decodeImage(join(c.dir, file));
    const sizeOk = image.width === width && image.height === height;
    const limit = /\.jpe?g$/.test(file) ? LEVELS.jpeg : LEVELS.lossless;
    for (const { final_reso: finalReso, mid_reso: midReso } of config.settings) {
      for (const [suffix, transform, levels] of [
        ['u8', resizeCrop, 1],
        ['x', preprocess, 127.5],
      ] as const) {
        const tensor = `${file.slice(file.indexOf('/') + 1)}/${finalReso}-${midReso}/${suffix}`;
        if (!expected.has(tensor)) continue;
        using result = transform(engine, image, { finalReso, midReso });
        const want = numbersOf(await expected.bytes(tensor), expected.info(tensor).dtype).map(Number);
        const { max, mean } = compare(await result.read(), want, levels);
        checks.push({
          tensor,
          maxAbsErr: max / levels,
          tolerance: limit.max / levels,
          ok: sizeOk && max <= limit.max && mean <= limit.mean,
        });
      }
    }
  }
  return checks;
};
