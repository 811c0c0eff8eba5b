import { type Args, at, coordinates, make, type Outputs, only, pick, type Ten, toDType, zeros } from './kit.js';

// G of F(m,3) for the points 0, 1, -1, (2, -2,) infinity (Lavin and Gray 2016).
const G2 = [
  [1, 0, 0],
  [0.5, 0.5, 0.5],
  [0.5, -0.5, 0.5],
  [0, 0, 1],
];
const G4 = [
  [1 / 4, 0, 0],
  [-1 / 6, -1 / 6, -1 / 6],
  [-1 / 6, 1 / 6, -1 / 6],
  [1 / 24, 1 / 12, 1 / 6],
  [1 / 24, -1 / 12, 1 / 6],
  [0, 0, 1],
];

function direct(w: Ten): Ten {
  const [O, I, kh, kw] = w.shape as [number, number, number, number];
  const K = kh * kw * I;
  const y = zeros([Math.ceil(O / 16), K, 16]);
  for (let o = 0; o < O; o++) {
    for (let k = 0; k < K; k++) {
      const tap = Math.floor(k / I);
      y.data[(Math.floor(o / 16) * K + k) * 16 + (o % 16)] = pick(w, o, k % I, Math.floor(tap / kw), tap % kw);
    }
  }
  return y;
}

// point (p, q) of channel pair (o, i): sum G[p][y] w[y][x] G[q][x]
function winograd(w: Ten, G: readonly (readonly number[])[]): Ten {
  const [O, I] = w.shape as [number, number];
  const n = G.length;
  const panels = Math.ceil(O / 16);
  const y = zeros([n * n, panels, I, 16]);
  for (let o = 0; o < O; o++) {
    for (let i = 0; i < I; i++) {
      for (let point = 0; point < n * n; point++) {
        const row = G[Math.floor(point / n)] as readonly number[];
        const col = G[point % n] as readonly number[];
        let s = 0;
        for (let t = 0; t < 9; t++) s += (row[Math.floor(t / 3)] as number) * at(w, (o * I + i) * 9 + t) * (col[t % 3] as number);
        y.data[((point * panels + Math.floor(o / 16)) * I + i) * 16 + (o % 16)] = s;
      }
    }
  }
  return y;
}

// The weight of the convolution that gives the gradient of the input.
function transposed(w: Ten): Ten {
  const [O, I, kh, kw] = w.shape as [number, number, number, number];
  const shape = [I, O, kh, kw];
  return make(shape, (k) => {
    const [i, o, y, x] = coordinates(k, shape) as [number, number, number, number];
    return pick(w, o, i, kh - 1 - y, kw - 1 - x);
  });
}

export default function convPack(c: Args): Outputs {
  const w = c.flag('transpose') ? transposed(c.ten('w')) : c.ten('w');
  const algo = c.str('algo');
  const y = algo === 'direct' ? direct(w) : winograd(w, algo === 'winograd2' ? G2 : G4);
  return only('packed', { shape: y.shape, data: y.data.map((v) => toDType(v, c.str('dtype'))) });
}
