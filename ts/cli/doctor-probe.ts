// Runs in a child process of `nextscale doctor`: what may crash (a binary for another machine) crashes here. Prints one JSON object.
import { createRequire } from 'node:module';

async function engine(device: 'cpu' | 'cuda'): Promise<unknown> {
  const { createEngine } = await import('../index.js');
  await using e = await createEngine({ device });
  const x = e.tensor(new Float32Array([1, 2, 3, 4]), [1, 2, 2]);
  const w = e.ops.linearPack(e.tensor(new Float32Array([1, 1, 1, -1]), [2, 2]));
  const y = Array.from((await e.ops.linear(x, w, { n: 2 }).read()) as Float32Array);
  const right = y.join() === '3,-1,7,-1';
  return { device: e.device, threads: e.threads, describe: e.describe(), correct: right, got: y };
}

async function sharpLibrary(): Promise<unknown> {
  const { default: sharp } = await import('sharp');
  const png = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#808080' } })
    .png()
    .toBuffer();
  const { width, height } = await sharp(png).metadata();
  return { versions: sharp.versions, correct: width === 8 && height === 8, formats: Object.keys(sharp.format) };
}

function addon(file: string): unknown {
  return (createRequire(import.meta.url)(file) as { info(): unknown }).info();
}

const [what, file] = process.argv.slice(2);
const answer = what === 'addon' ? addon(file!) : what === 'sharp' ? await sharpLibrary() : await engine(what === 'cuda' ? 'cuda' : 'cpu');
process.stdout.write(`\n${JSON.stringify(answer)}\n`);
