import { type Args, at, type Outputs, pick, type Ten, zeros } from './kit.js';

type Vector = number[];

const dot = (a: Vector, b: Vector): number => a.reduce((s, v, i) => s + v * (b[i] as number), 0);
function unit(v: Vector): Vector {
  const length = Math.max(Math.sqrt(dot(v, v)), 1e-12);
  return v.map((x) => x / length);
}

function attend(q: Vector, keys: readonly Vector[], values: readonly Vector[], scale: number): { y: Vector; lse: number } {
  const scores = keys.map((k) => dot(q, k) * scale);
  const max = Math.max(...scores);
  const weights = scores.map((s) => Math.exp(s - max));
  const sum = weights.reduce((s, w) => s + w, 0);
  const y = q.map((_, i) => values.reduce((s, v, j) => s + ((weights[j] as number) / sum) * (v[i] as number), 0));
  return { y, lse: max + Math.log(sum) };
}

export default function attention(c: Args): Outputs {
  const qkv = c.ten('qkv');
  const [scaleMul, visible, kCache, vCache] = [c.opt('scaleMul'), c.opt('visible'), c.opt('kCache'), c.opt('vCache')];
  const [B, l] = qkv.shape as [number, number];
  const [H, n, pos] = [c.num('heads'), c.num('width'), c.num('pos')];
  const vector = (b: number, i: number, part: number, h: number): Vector => {
    const from = ((b * l + i) * 3 + part) * H * n + h * n;
    return Array.from(qkv.data.subarray(from, from + n));
  };
  const cached = (t: Ten, b: number, h: number): Vector[] =>
    Array.from({ length: pos }, (_, j) => Array.from({ length: n }, (_, k) => pick(t, b, h, j, k)));
  const y = zeros([B, l, H * n]);
  const lse = c.opt('lse') && zeros([B, H, l]);
  const newK = kCache && { shape: kCache.shape, data: kCache.data.slice() };
  const newV = vCache && { shape: vCache.shape, data: vCache.data.slice() };
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const mul = scaleMul ? Math.exp(Math.min(at(scaleMul, h), c.num('maxScaleMul'))) : 1;
      const fresh = Array.from({ length: l }, (_, i) => (scaleMul ? unit(vector(b, i, 1, h)) : vector(b, i, 1, h)));
      const keys = [...(kCache ? cached(kCache, b, h) : []), ...fresh];
      const values = [...(vCache ? cached(vCache, b, h) : []), ...fresh.map((_, i) => vector(b, i, 2, h))];
      for (let i = 0; i < l; i++) {
        const q = scaleMul ? unit(vector(b, i, 0, h)).map((v) => v * mul) : vector(b, i, 0, h);
        const sees = visible ? at(visible, i) : keys.length;
        const row = attend(q, keys.slice(0, sees), values.slice(0, sees), c.num('scale'));
        y.data.set(row.y, (b * l + i) * H * n + h * n);
        if (lse) lse.data[(b * H + h) * l + i] = row.lse;
        if (!c.flag('append') || !newK || !newV) continue;
        const to = ((b * H + h) * (newK.shape[2] as number) + pos + i) * n;
        newK.data.set(fresh[i] as Vector, to);
        newV.data.set(vector(b, i, 2, h), to);
      }
    }
  }
  return { tensors: { y, ...(newK && newV ? { kCache: newK, vCache: newV } : {}), ...(lse ? { lse } : {}) } };
}
