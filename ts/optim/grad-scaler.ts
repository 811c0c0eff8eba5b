// Dynamic loss scale of fp16 training (reference: torch.cuda.amp.GradScaler with the cap of utils/amp_sc.py of FoundationVision/VAR).
import { checkNumber } from '../core/check.js';
import { entry, float, scalar } from './state.js';

export interface GradScalerOptions {
  /** Default 2^11. */
  readonly initScale?: number;
  readonly growthFactor?: number;
  readonly backoffFactor?: number;
  /** Steps in a row without a non-finite gradient before the scale grows; default 1000. */
  readonly growthInterval?: number;
  /** A scale above it is set to it at the next update; default 32768. */
  readonly maxScale?: number;
}

const MAX_F32 = 3.4028234663852886e38;

/** The loss is multiplied by `scale` before the backward pass; `update` follows every optimizer step. */
export class GradScaler {
  private current: number;
  private good = 0;
  private growthFactor: number;
  private backoffFactor: number;
  private growthInterval: number;
  private readonly maxScale: number;

  constructor(options: GradScalerOptions = {}) {
    const { initScale = 2 ** 11, growthFactor = 2, backoffFactor = 0.5, growthInterval = 1000, maxScale = 32768 } = options;
    this.current = checkNumber('initScale', initScale, 2 ** -126, MAX_F32);
    this.growthFactor = checkNumber('growthFactor', growthFactor, 1, 1e6);
    this.backoffFactor = checkNumber('backoffFactor', backoffFactor, 1e-6, 1);
    this.growthInterval = checkNumber('growthInterval', growthInterval, 1, 2 ** 31);
    this.maxScale = checkNumber('maxScale', maxScale, 1, MAX_F32);
  }

  get scale(): number {
    return this.current;
  }

  /** After a step. Above the cap the scale returns to it whatever was found, and the count of good steps stays. */
  update(foundNonFinite: boolean): void {
    if (this.current > this.maxScale) {
      this.current = this.maxScale;
      return;
    }
    if (foundNonFinite) {
      this.current = Math.fround(this.current * this.backoffFactor);
      this.good = 0;
      return;
    }
    if (++this.good < this.growthInterval) return;
    this.good = 0;
    const grown = Math.fround(this.current * this.growthFactor);
    if (Number.isFinite(grown)) this.current = grown;
  }

  /** Under the keys of torch's GradScaler.state_dict(). */
  state(): Record<string, unknown> {
    return {
      scale: float(this.current),
      growth_factor: float(this.growthFactor),
      backoff_factor: float(this.backoffFactor),
      growth_interval: this.growthInterval,
      _growth_tracker: this.good,
    };
  }

  async restore(saved: unknown): Promise<void> {
    const read = (key: string) => scalar(entry(saved, key), `scaler: ${key}`);
    this.current = await read('scale');
    this.growthFactor = await read('growth_factor');
    this.backoffFactor = await read('backoff_factor');
    this.growthInterval = await read('growth_interval');
    this.good = await read('_growth_tracker');
  }
}
