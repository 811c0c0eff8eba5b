// driver: timeout=600
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cholesky, nearIdentity, relativeDistance, secondMoment, spreadCodes } from '../../ts/cli/demo-codebook.js';
import { folder, json, picture, pixels } from './support.js';

const dir = folder();

interface Demo {
  trained: boolean;
  converged: boolean;
  scales: { patchNum: number; residual: number; psnr: number[] }[];
  parts: { name: string; seconds: number }[];
  files: { pictures: string; scales: string; generated: string };
}

test('the demo converges over the scales and writes its pictures', async () => {
  const image = await picture(join(dir, 'p.png'), 300);
  const d = await json<Demo>(['demo', '--images', image, '--out', join(dir, 'demo')]);
  assert.not.ok(d.trained);
  const residuals = d.scales.map((s) => s.residual);
  assert.is(residuals.length, 10);
  for (let i = 1; i < residuals.length; i++) assert.ok(residuals[i]! < residuals[i - 1]!, `scale ${i}: ${residuals.join(' ')}`);
  assert.ok(residuals[9]! < 0.75 * residuals[0]!);
  assert.ok(d.scales[9]!.psnr[0]! > d.scales[0]!.psnr[0]!, 'decoding comes nearer to the unquantised picture');
  assert.is((await pixels(d.files.generated)).width, 4 * 264 + 8);
  assert.is((await pixels(d.files.scales)).width, 12 * 264 + 8);
  assert.ok(d.parts.every((p) => p.seconds >= 0) && d.parts.length >= 5);
});

test('second moment and Cholesky factor of features', () => {
  const rows = Float32Array.from([1, 0, 1, 2, 3, 1]);
  const m = secondMoment(rows, 2);
  assert.equal(
    [...m].map((v) => Number(v.toFixed(6))),
    [11 / 3, 5 / 3, 5 / 3, 5 / 3].map((v) => Number(v.toFixed(6))),
  );
  const l = cholesky(m, 2);
  const back = [l[0]! ** 2, l[2]! * l[0]!, l[2]! ** 2 + l[3]! ** 2];
  for (const [i, want] of [11 / 3, 5 / 3, 5 / 3].entries()) assert.ok(Math.abs(back[i]! - want) < 1e-4);
});

test('codes follow the factor and get shorter; phi keeps the centre', () => {
  const codes = spreadCodes(Float32Array.from([1, 1, 1, 1]), Float64Array.from([2, 0, 1, 3]), 2);
  assert.ok(Math.abs(codes[1]! / codes[0]! - 2) < 1e-6, 'L g = (2, 4)');
  assert.ok(codes[2]! < codes[0]!);
  const w = nearIdentity(new Float32Array(2 * 2 * 9).fill(4), 2, 0.5);
  assert.equal([w[4], w[13], w[22], w[31], w[0]], [3, 2, 2, 3, 2]);
  assert.is(relativeDistance(Float32Array.from([3, 4]), Float32Array.from([3, 0])), 0.8);
});

test.run();
