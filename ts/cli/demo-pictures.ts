// Test pictures drawn by program: a landscape, bubbles, a colour wheel, woven ribbons.
import sharp from 'sharp';
import type { RawImage } from '../data/index.js';

type Draw = (size: number) => string;

function svg(size: number, defs: string, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256" width="${size}" height="${size}"><defs>${defs}</defs>${body}</svg>`;
}

const stops = (...colors: string[]): string =>
  colors.map((c, i) => `<stop offset="${(i / (colors.length - 1)).toFixed(3)}" stop-color="${c}"/>`).join('');

function hills(y: number, amplitude: number, phase: number, color: string): string {
  const points = Array.from({ length: 65 }, (_, i) => {
    const h = y + amplitude * (Math.sin(i * 0.13 + phase) + 0.5 * Math.sin(i * 0.31 + 2 * phase));
    return `${i * 4},${h.toFixed(1)}`;
  });
  return `<polygon points="0,256 ${points.join(' ')} 256,256" fill="${color}"/>`;
}

const landscape: Draw = (size) =>
  svg(
    size,
    `<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">${stops('#2b3a67', '#7a5c8e', '#e98a6b', '#fcd581')}</linearGradient>
     <radialGradient id="sun">${stops('#fff6d6', '#ffd166', '#ffb14a')}</radialGradient>`,
    `<rect width="256" height="256" fill="url(#sky)"/><circle cx="168" cy="118" r="30" fill="url(#sun)"/>
     ${hills(140, 14, 0.3, '#8a5a83')}${hills(166, 16, 1.7, '#5b4b7a')}${hills(196, 12, 3.1, '#35355e')}${hills(226, 9, 4.4, '#1d2140')}`,
  );

const bubbles: Draw = (size) => {
  const colors = ['#ef476f', '#ffd166', '#06d6a0', '#118ab2', '#f78c6b', '#8338ec'];
  const defs = colors.map(
    (c, i) => `<radialGradient id="b${i}" cx="0.35" cy="0.3" r="0.75">${stops('#ffffff', c, '#20243a')}</radialGradient>`,
  );
  const circles = Array.from({ length: 18 }, (_, i) => {
    const golden = i * 2.399963;
    const r = 12 + 4.6 * Math.sqrt(i * 10);
    const x = 128 + r * 1.6 * Math.cos(golden);
    const y = 128 + r * 1.6 * Math.sin(golden);
    return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${(26 - i * 0.7).toFixed(1)}" fill="url(#b${i % colors.length})"/>`;
  });
  return svg(
    size,
    `${defs.join('')}<linearGradient id="bg" x1="0" y1="0" x2="1" y2="1">${stops('#10223f', '#3d6b9e', '#cfe3f2')}</linearGradient>`,
    `<rect width="256" height="256" fill="url(#bg)"/>${circles.join('')}`,
  );
};

const wheel: Draw = (size) => {
  const slices = Array.from({ length: 24 }, (_, i) => {
    const [a, b] = [(i * Math.PI) / 12, ((i + 1) * Math.PI) / 12];
    const at = (t: number, r: number): string => `${(128 + r * Math.cos(t)).toFixed(2)},${(128 + r * Math.sin(t)).toFixed(2)}`;
    return `<path d="M128,128 L${at(a, 108)} A108,108 0 0 1 ${at(b, 108)} Z" fill="hsl(${i * 15},80%,${i % 2 ? 45 : 60}%)"/>`;
  });
  return svg(
    size,
    `<radialGradient id="hub">${stops('#ffffff', '#f2efe6', '#8d99ae')}</radialGradient>
     <linearGradient id="paper" x1="0" y1="0" x2="0" y2="1">${stops('#faf3e3', '#d9cdb8')}</linearGradient>`,
    `<rect width="256" height="256" fill="url(#paper)"/>${slices.join('')}<circle cx="128" cy="128" r="44" fill="url(#hub)"/>`,
  );
};

const ribbons: Draw = (size) => {
  const band = (i: number, upright: boolean): string => {
    const at = 14 + i * 48;
    const box = upright ? `x="${at}" y="0" width="36" height="256"` : `x="0" y="${at}" width="256" height="36"`;
    return `<rect ${box} fill="url(#${upright ? 'v' : 'h'}${i % 2})"/>`;
  };
  const over: string[] = [];
  for (let i = 0; i < 5; i++)
    for (let j = 0; j < 5; j++)
      if ((i + j) % 2) over.push(`<rect x="${14 + i * 48}" y="${10 + j * 48}" width="36" height="44" fill="url(#v${i % 2})"/>`);
  const gradient = (id: string, upright: boolean, ...c: string[]): string =>
    `<linearGradient id="${id}" x1="0" y1="0" x2="${upright ? 1 : 0}" y2="${upright ? 0 : 1}">${stops(...c)}</linearGradient>`;
  const defs = [
    gradient('v0', true, '#7b2d26', '#d1495b', '#7b2d26'),
    gradient('v1', true, '#9c6b1f', '#edae49', '#9c6b1f'),
    gradient('h0', false, '#0b3c49', '#3a8fb7', '#0b3c49'),
    gradient('h1', false, '#1b4332', '#52b788', '#1b4332'),
  ];
  const bands = [0, 1, 2, 3, 4];
  return svg(
    size,
    defs.join(''),
    `<rect width="256" height="256" fill="#f4efe6"/>${bands.map((i) => band(i, true)).join('')}${bands.map((i) => band(i, false)).join('')}${over.join('')}`,
  );
};

export const DEMO_PICTURES: readonly { name: string; draw: Draw }[] = [
  { name: 'landscape', draw: landscape },
  { name: 'bubbles', draw: bubbles },
  { name: 'wheel', draw: wheel },
  { name: 'ribbons', draw: ribbons },
];

/** Draws a test picture with size x size pixels. */
export async function drawPicture(draw: Draw, size: number): Promise<RawImage> {
  const data = await sharp(Buffer.from(draw(size)))
    .flatten({ background: '#ffffff' })
    .removeAlpha()
    .raw()
    .toBuffer();
  return { width: size, height: size, data: new Uint8Array(data) };
}
