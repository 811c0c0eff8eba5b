import { type Args, at, make, type Outputs, only } from './kit.js';

export default function matmul(c: Args): Outputs {
  const a = c.ten('a');
  const b = c.ten('b');
  const [B, M, K] = a.shape as [number, number, number];
  const transB = c.flag('transB');
  const N = b.shape[transB ? 1 : 2] as number;
  return only(
    'y',
    make([B, M, N], (i) => {
      const batch = Math.floor(i / (M * N));
      const m = Math.floor(i / N) % M;
      const n = i % N;
      let s = 0;
      for (let k = 0; k < K; k++) s += at(a, (batch * M + m) * K + k) * at(b, batch * K * N + (transB ? n * K + k : k * N + n));
      return s * c.num('alpha');
    }),
  );
}
