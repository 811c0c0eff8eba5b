import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { drawText, fitText, GLYPH_HEIGHT, GLYPH_WIDTH } from '../../ts/cli/font.js';
import { defaultColumns, grid, psnr } from '../../ts/cli/grid.js';
import type { RawImage } from '../../ts/data/index.js';

const plain = (width: number, height: number, value: number): RawImage => ({
  width,
  height,
  data: new Uint8Array(width * height * 3).fill(value),
});
const at = (p: RawImage, x: number, y: number): number[] => [...p.data.subarray((y * p.width + x) * 3, (y * p.width + x) * 3 + 3)];

test('pictures lie row by row with a gap, on white', () => {
  const g = grid([plain(4, 3, 10), plain(4, 3, 20), plain(4, 3, 30)], { columns: 2, gap: 2 });
  assert.is(g.width, 2 * 4 + 3 * 2);
  assert.is(g.height, 2 * 3 + 3 * 2);
  assert.equal(at(g, 0, 0), [255, 255, 255]);
  assert.equal(at(g, 2, 2), [10, 10, 10]);
  assert.equal(at(g, 8, 2), [20, 20, 20]);
  assert.equal(at(g, 2, 7), [30, 30, 30]);
  assert.equal(at(g, 8, 7), [255, 255, 255]);
});

test('captions and titles take room of their own and leave the pictures alone', () => {
  const bare = grid([plain(64, 64, 90)]);
  const g = grid([plain(64, 64, 90)], { captions: ['label 207'], title: 'a title' });
  assert.ok(g.height > bare.height);
  const gray = g.data.filter((v) => v === 90).length;
  assert.is(gray, 64 * 64 * 3);
  assert.ok(
    g.data.some((v) => v === 32),
    'the caption is drawn',
  );
});

test('a grid of one to eight is one row, more are as square as it gets', () => {
  assert.equal([1, 4, 8, 9, 16, 17].map(defaultColumns), [1, 4, 8, 3, 4, 5]);
});

test('text is drawn at its place, scaled, and cut at the border', () => {
  const width = 20;
  const rgb = new Uint8Array(width * 10 * 3);
  drawText(rgb, width, 1, 1, 'I', 1, [255, 0, 0]);
  const lit = [...rgb.keys()].filter((i) => rgb[i] === 255).map((i) => i / 3);
  assert.is(lit.length, 3 + 5 + 3, 'the letter I has a bar and two serifs');
  assert.ok(lit.every((i) => i % width >= 1 && i % width <= 5 && i / width >= 1 && Math.floor(i / width) < 1 + GLYPH_HEIGHT));
  const big = new Uint8Array(width * 20 * 3);
  drawText(big, width, 0, 0, 'I', 2, [255, 0, 0]);
  assert.is(big.filter((v) => v === 255).length, 4 * lit.length);
  drawText(rgb, width, width - 2, 5, 'WWW', 1, [1, 2, 3]);
});

test('every printable character has a glyph of 5 x 7, unknown ones a question mark', () => {
  for (let c = 32; c < 127; c++) {
    const rgb = new Uint8Array(8 * 8 * 3);
    drawText(rgb, 8, 0, 0, String.fromCharCode(c), 1, [255, 255, 255]);
    assert.is(
      c === 32,
      rgb.every((v) => v === 0),
      `character ${c}`,
    );
  }
});

test('fitText keeps what fits', () => {
  assert.is(fitText('abc', 3 * GLYPH_WIDTH, 1), 'abc');
  assert.is(fitText('abcdefgh', 5 * GLYPH_WIDTH, 1), 'abc..');
  assert.is(fitText('abc', 0, 1), '');
});

test('psnr is 10 log10(255^2 / mse)', () => {
  assert.is(psnr(new Uint8Array([1, 2]), new Uint8Array([1, 2])), Number.POSITIVE_INFINITY);
  assert.ok(Math.abs(psnr(new Uint8Array([0, 0]), new Uint8Array([255, 255]))) < 1e-12);
  assert.ok(Math.abs(psnr(new Uint8Array([0, 0, 0, 0]), new Uint8Array([10, 0, 0, 0])) - 10 * Math.log10((255 * 255 * 4) / 100)) < 1e-9);
  assert.throws(() => psnr(new Uint8Array(3), new Uint8Array(6)), /3 and 6 bytes/);
});

test.run();
