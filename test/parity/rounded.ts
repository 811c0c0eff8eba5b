// Attention and its gradient as a GPU may compute them from 16-bit qkv: q, k (after normalisation), v, probabilities and their gradients are
// rounded to that dtype before they are multiplied, everything else is exact. How far this composition lies from the definition is what
// a fused kernel of the same dtype is measured by: it may be twice as far, since its roundings fall elsewhere.
import { type Args, at, type Outputs, toDType, zeros } from '../reference/kit.js';

type Vector = number[];
const dot = (a: Vector, b: Vector): number => a.reduce((s, v, i) => s + v * (b[i] as number), 0);
const norm = (v: Vector): number => Math.max(Math.sqrt(dot(v, v)), 1e-12);

interface Head {
  readonly q: Vector[];
  readonly k: Vector[];
  readonly v: Vector[];
  readonly visible: (i: number) => number;
}

const place = (c: Args, b: number, i: number, part: number, h: number): number => {
  const [, l] = c.ten('qkv').shape as [number, number];
  return ((b * l + i) * 3 + part) * c.num('heads') * c.num('width') + h * c.num('width');
};

function vectors(c: Args, b: number, part: number, h: number): Vector[] {
  const { shape, data } = c.ten('qkv');
  const n = c.num('width');
  return Array.from({ length: shape[1] as number }, (_, i) => {
    const from = place(c, b, i, part, h);
    return Array.from(data.subarray(from, from + n));
  });
}

/** q with the learnt scale, k and v of one head; new rows behind those of the cache. */
function headOf(c: Args, b: number, h: number, round: (x: number) => number): Head {
  const scaleMul = c.opt('scaleMul');
  const mul = scaleMul ? Math.exp(Math.min(at(scaleMul, h), c.num('maxScaleMul'))) : 1;
  const unit = (v: Vector, by: number): Vector => (scaleMul ? v.map((x) => round((x / norm(v)) * by)) : v);
  const cached = (name: string): Vector[] => {
    const t = c.opt(name);
    if (!t) return [];
    const [, H, rows, n] = t.shape as [number, number, number, number];
    return Array.from({ length: c.num('pos') }, (_, j) => {
      const from = ((b * H + h) * rows + j) * n;
      return Array.from(t.data.subarray(from, from + n), round);
    });
  };
  const visible = c.opt('visible');
  const k = [...cached('kCache'), ...vectors(c, b, 1, h).map((v) => unit(v, 1))];
  return {
    q: vectors(c, b, 0, h).map((v) => unit(v, mul)),
    k,
    v: [...cached('vCache'), ...vectors(c, b, 2, h)],
    visible: (i) => (visible ? at(visible, i) : k.length),
  };
}

export function roundedAttention(c: Args, dtype: string): Outputs {
  const round = (x: number): number => toDType(x, dtype);
  const [B, l] = c.ten('qkv').shape as [number, number];
  const [H, n] = [c.num('heads'), c.num('width')];
  const [y, lse] = [zeros([B, l, H * n]), zeros([B, H, l])];
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++) {
      const { q, k, v, visible } = headOf(c, b, h, round);
      for (const [i, row] of q.entries()) {
        const scores = k.slice(0, visible(i)).map((key) => dot(row, key) * c.num('scale'));
        const max = Math.max(...scores);
        const p = scores.map((s) => Math.exp(s - max));
        const sum = p.reduce((s, x) => s + x, 0);
        for (let e = 0; e < n; e++) {
          const total = p.reduce((s, x, j) => s + round(x) * ((v[j] as Vector)[e] as number), 0);
          y.data[(b * l + i) * H * n + h * n + e] = total / sum;
        }
        lse.data[(b * H + h) * l + i] = max + Math.log(sum);
      }
    }
  return { tensors: { y, lse } };
}

/** Gradient of v / |v|. */
function ofUnit(v: Vector, g: Vector): Vector {
  const length = norm(v);
  const along = dot(v, g) / length;
  return g.map((x, i) => (x - ((v[i] as number) / length) * along) / length);
}

export function roundedAttentionGrad(c: Args, dtype: string): Outputs {
  const round = (x: number): number => toDType(x, dtype);
  const [qkv, y, dy, lse] = [c.ten('qkv'), c.ten('y'), c.ten('dy'), c.ten('lse')];
  const [scaleMul, given] = [c.opt('scaleMul'), c.opt('dScaleMul')];
  const [B, l] = qkv.shape as [number, number];
  const [H, n] = [c.num('heads'), c.num('width')];
  const dqkv = zeros(qkv.shape);
  const dScaleMul = given && { shape: given.shape, data: given.data.slice() };
  const outer = (t: typeof y, b: number, i: number, h: number): Vector => {
    const from = (b * l + i) * H * n + h * n;
    return Array.from(t.data.subarray(from, from + n));
  };
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++) {
      const { q, k, v, visible } = headOf(c, b, h, round);
      const mul = scaleMul ? Math.exp(Math.min(at(scaleMul, h), c.num('maxScaleMul'))) : 1;
      const empty = (): Vector[] => Array.from({ length: l }, () => new Array<number>(n).fill(0));
      const [dq, dk, dv] = [empty(), empty(), empty()];
      const addTo = (to: Vector, by: number, row: Vector): void => {
        for (const [e, x] of row.entries()) to[e] = (to[e] as number) + by * x;
      };
      let byScale = 0;
      for (let i = 0; i < l; i++) {
        const [out, dOut, row] = [outer(y, b, i, h), outer(dy, b, i, h), q[i] as Vector];
        const mean = dot(out, dOut);
        for (let j = 0; j < visible(i); j++) {
          const score = dot(row, k[j] as Vector) * c.num('scale');
          const p = Math.exp(score - at(lse, (b * H + h) * l + i));
          const ds = p * (dot(dOut, v[j] as Vector) - mean);
          byScale += ds * score;
          addTo(dv[j] as Vector, round(p), dOut);
          addTo(dq[i] as Vector, round(ds) * c.num('scale') * mul, k[j] as Vector);
          addTo(dk[j] as Vector, round(ds) * c.num('scale'), row);
        }
      }
      for (const [part, rows] of [dq, dk, dv].entries()) {
        const raw = vectors(c, b, part, h);
        for (let i = 0; i < l; i++) {
          const g = rows[i] as Vector;
          dqkv.data.set(scaleMul && part < 2 ? ofUnit(raw[i] as Vector, g) : g, place(c, b, i, part, h));
        }
      }
      if (dScaleMul && scaleMul && at(scaleMul, h) <= c.num('maxScaleMul')) dScaleMul.data[h] = at(dScaleMul, h) + byScale;
    }
  return { tensors: { dqkv, ...(dScaleMul && { dScaleMul }) } };
}
