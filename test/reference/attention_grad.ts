import { type Args, at, type Outputs, type Ten, zeros } from './kit.js';

type Vector = number[];

const dot = (a: Vector, b: Vector): number => a.reduce((s, v, i) => s + v * (b[i] as number), 0);
const length = (v: Vector): number => Math.sqrt(dot(v, v));
const eps = 1e-12;

// Gradient of v / max(|v|, eps).
function ofUnit(v: Vector, g: Vector): Vector {
  const n = length(v);
  if (n <= eps) return g.map((x) => x / eps);
  const along = dot(v, g) / n;
  return g.map((x, i) => (x - ((v[i] as number) / n) * along) / n);
}

export default function attentionGrad(c: Args): Outputs {
  const [qkv, y, dy, lse] = [c.ten('qkv'), c.ten('y'), c.ten('dy'), c.ten('lse')];
  const [scaleMul, visible, given] = [c.opt('scaleMul'), c.opt('visible'), c.opt('dScaleMul')];
  const [B, l] = qkv.shape as [number, number];
  const [H, n] = [c.num('heads'), c.num('width')];
  const dqkv = zeros(qkv.shape);
  const dScaleMul: Ten | undefined = given && { shape: given.shape, data: given.data.slice() };
  const place = (b: number, i: number, part: number, h: number): number => ((b * l + i) * 3 + part) * H * n + h * n;
  const head = (b: number, h: number): void => {
    const rows = (part: number): Vector[] =>
      Array.from({ length: l }, (_, i) => Array.from(qkv.data.subarray(place(b, i, part, h), place(b, i, part, h) + n)));
    const outer = (t: Ten): Vector[] =>
      Array.from({ length: l }, (_, i) => Array.from(t.data.subarray((b * l + i) * H * n + h * n, (b * l + i) * H * n + h * n + n)));
    const [q, k, v, out, dOut] = [rows(0), rows(1), rows(2), outer(y), outer(dy)];
    const unit = (x: Vector): Vector => (scaleMul ? x.map((e) => e / Math.max(length(x), eps)) : x);
    const [q1, k1] = [q.map(unit), k.map(unit)];
    const factor = c.num('scale') * (scaleMul ? Math.exp(Math.min(at(scaleMul, h), c.num('maxScaleMul'))) : 1);
    const [dq, dk, dv] = [0, 1, 2].map(() => Array.from({ length: l }, () => new Array<number>(n).fill(0))) as [
      Vector[],
      Vector[],
      Vector[],
    ];
    let byScale = 0;
    for (let i = 0; i < l; i++) {
      const mean = dot(out[i] as Vector, dOut[i] as Vector);
      for (let j = 0; j < (visible ? at(visible, i) : l); j++) {
        const score = dot(q1[i] as Vector, k1[j] as Vector) * factor;
        const p = Math.exp(score - at(lse, (b * H + h) * l + i));
        const ds = p * (dot(dOut[i] as Vector, v[j] as Vector) - mean);
        byScale += ds * score;
        for (let e = 0; e < n; e++) {
          (dv[j] as Vector)[e] = ((dv[j] as Vector)[e] as number) + p * ((dOut[i] as Vector)[e] as number);
          (dq[i] as Vector)[e] = ((dq[i] as Vector)[e] as number) + ds * factor * ((k1[j] as Vector)[e] as number);
          (dk[j] as Vector)[e] = ((dk[j] as Vector)[e] as number) + ds * factor * ((q1[i] as Vector)[e] as number);
        }
      }
    }
    for (let i = 0; i < l; i++) {
      dqkv.data.set(scaleMul ? ofUnit(q[i] as Vector, dq[i] as Vector) : (dq[i] as Vector), place(b, i, 0, h));
      dqkv.data.set(scaleMul ? ofUnit(k[i] as Vector, dk[i] as Vector) : (dk[i] as Vector), place(b, i, 1, h));
      dqkv.data.set(dv[i] as Vector, place(b, i, 2, h));
    }
    if (dScaleMul && scaleMul && at(scaleMul, h) <= c.num('maxScaleMul')) dScaleMul.data[h] = at(dScaleMul, h) + byScale;
  };
  for (let b = 0; b < B; b++) for (let h = 0; h < H; h++) head(b, h);
  return { tensors: { dqkv, ...(dScaleMul && { dScaleMul }) } };
}
