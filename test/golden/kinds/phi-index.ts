// Which of K residual convolutions every scale of SN uses.
import { phiIndex } from '../../../ts/models/vqvae/index.js';
import { compareWith, type KindRunner } from '../kind.js';

interface Row {
  readonly K: number;
  readonly SN: number;
  readonly phi: readonly number[];
}

export const run: KindRunner = async (c) =>
  (c.json.table as readonly Row[]).map(({ K, SN, phi }) => {
    const got = Array.from({ length: SN }, (_, si) => phiIndex(K, si, SN));
    return compareWith(`K${K}-SN${SN}`, { data: got, shape: [SN] }, { data: phi, shape: [phi.length] }, { exact: true });
  });
