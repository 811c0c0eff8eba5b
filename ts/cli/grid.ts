// Image grids with captions, as plain RGB bytes.
import { paste, type RawImage } from '../data/index.js';
import { drawText, fitText, GLYPH_HEIGHT } from './font.js';

export interface GridOptions {
  columns?: number;
  captions?: readonly string[];
  title?: string;
  gap?: number;
}

const BACKGROUND = [255, 255, 255];
const INK = [32, 32, 32];

function blank(width: number, height: number): RawImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i += 3) data.set(BACKGROUND, i);
  return { width, height, data };
}

/** Columns of a grid of n pictures: up to 8 in a row, else as square as it gets. */
export function defaultColumns(n: number): number {
  return n <= 8 ? n : Math.ceil(Math.sqrt(n));
}

/** Lays pictures out row by row on white; cells take the size of the largest picture; a caption stands under each picture. */
export function grid(pictures: readonly RawImage[], options: GridOptions = {}): RawImage {
  const { captions, title, gap = 8 } = options;
  const columns = Math.min(options.columns ?? defaultColumns(pictures.length), pictures.length);
  const rows = Math.ceil(pictures.length / columns);
  const cellW = Math.max(...pictures.map((p) => p.width));
  const cellH = Math.max(...pictures.map((p) => p.height));
  const scale = cellW >= 160 ? 2 : 1;
  const captionH = captions ? GLYPH_HEIGHT * scale + 6 : 0;
  const titleH = title ? GLYPH_HEIGHT * scale + gap : 0;
  const out = blank(columns * (cellW + gap) + gap, titleH + rows * (cellH + captionH + gap) + gap);
  if (title) drawText(out.data, out.width, gap, gap, fitText(title, out.width - 2 * gap, scale), scale, INK);
  pictures.forEach((picture, i) => {
    const x = gap + (i % columns) * (cellW + gap);
    const y = titleH + gap + Math.floor(i / columns) * (cellH + captionH + gap);
    paste(out, picture, x, y);
    const caption = captions?.[i];
    if (caption) drawText(out.data, out.width, x, y + cellH + 4, fitText(caption, cellW, scale), scale, INK);
  });
  return out;
}

/** Peak signal-to-noise ratio of 8-bit pictures in dB; Infinity when they are equal. */
export function psnr(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) throw new RangeError(`psnr: ${a.length} and ${b.length} bytes differ in length`);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10((255 * 255 * a.length) / sum);
}
