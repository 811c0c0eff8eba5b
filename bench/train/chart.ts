// Line charts of training curves as PNG.
import sharp from 'sharp';

export interface Series {
  readonly name: string;
  /** [x, y] in the order of x. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Chart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Dashed horizontal lines. */
  readonly marks?: readonly { readonly name: string; readonly y: number }[];
}

export const WIDTH = 640;
export const HEIGHT = 360;
const LEFT = 64;
const RIGHT = 16;
const TOP = 52;
const BOTTOM = 44;
const COLOURS = ['#0b6e99', '#c0562f', '#3c7d3c', '#7a4fa0', '#8a6d1d'];

/** About `count` round numbers that cover [lo, hi]. */
function ticks(lo: number, hi: number, count: number): number[] {
  const raw = (hi - lo || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= raw) ?? 10);
  const first = Math.ceil(lo / step);
  return Array.from({ length: Math.max(0, Math.floor(hi / step) - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

const quoted = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

/** The chart as SVG text. */
export function drawChart({ title, x, y, series, marks = [] }: Chart): string {
  const points = series.flatMap((s) => s.points);
  const xs = points.map((p) => p[0]);
  const ys = [...points.map((p) => p[1]), ...marks.map((m) => m.y)].filter(Number.isFinite);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const pad = (Math.max(...ys) - Math.min(...ys) || 1) * 0.05;
  const [y0, y1] = [Math.min(...ys) - pad, Math.max(...ys) + pad];
  const px = (v: number) => (LEFT + ((v - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const py = (v: number) => (HEIGHT - BOTTOM - ((v - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const text = (at: string, anchor: string, words: string, more = '') =>
    `<text ${at} font-family="DejaVu Sans, sans-serif" font-size="12" fill="#333" text-anchor="${anchor}" ${more}>${quoted(words)}</text>`;
  const grid = [
    ...ticks(y0, y1, 6).map(
      (v) =>
        `<path d="M${LEFT} ${py(v)}H${WIDTH - RIGHT}" stroke="#e4e4e4"/>${text(`x="${LEFT - 6}" y="${Number(py(v)) + 4}"`, 'end', String(v))}`,
    ),
    ...ticks(x0, x1, 6).map(
      (v) =>
        `<path d="M${px(v)} ${TOP}V${HEIGHT - BOTTOM}" stroke="#f0f0f0"/>${text(`x="${px(v)}" y="${HEIGHT - BOTTOM + 16}"`, 'middle', String(v))}`,
    ),
  ];
  const lines = series.map((s, i) => {
    const d = s.points.filter((p) => Number.isFinite(p[1])).map((p, k) => `${k === 0 ? 'M' : 'L'}${px(p[0])} ${py(p[1])}`);
    return `<path d="${d.join('')}" fill="none" stroke="${COLOURS[i % COLOURS.length]}" stroke-width="1.6"/>`;
  });
  const levels = marks.map((m) => `<path d="M${LEFT} ${py(m.y)}H${WIDTH - RIGHT}" stroke="#555" stroke-dasharray="5 4"/>`);
  const names = [...series.map((s, i) => [s.name, COLOURS[i % COLOURS.length]!] as const), ...marks.map((m) => [m.name, '#555'] as const)];
  let at = LEFT;
  const legend = names.map(([name, colour]) => {
    const left = at;
    at += 32 + 7 * name.length;
    return `<rect x="${left}" y="${TOP - 12}" width="10" height="10" fill="${colour}"/>${text(`x="${left + 15}" y="${TOP - 3}"`, 'start', name)}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}"><rect width="100%" height="100%" fill="#fff"/>
${grid.join('\n')}
${levels.join('\n')}
${lines.join('\n')}
${legend.join('\n')}
${text(`x="${LEFT}" y="22"`, 'start', title, 'font-weight="bold"')}
${text(`x="${(WIDTH + LEFT) / 2}" y="${HEIGHT - 10}"`, 'middle', x)}
${text(`x="16" y="${HEIGHT / 2}"`, 'middle', y, `transform="rotate(-90 16 ${HEIGHT / 2})"`)}
</svg>`;
}

/** Writes the chart as a PNG. */
export async function writeChart(path: string, chart: Chart): Promise<void> {
  await sharp(Buffer.from(drawChart(chart)))
    .png({ palette: true })
    .toFile(path);
}
