// When a checkpoint is due, and writing it.
import type { Batch } from '../data/index.js';
import type { CheckpointReason } from './events.js';
import type { LoopState } from './loop-state.js';
import type { TrainOptions } from './options.js';
import type { Reporter } from './reporter.js';
import type { RunLog } from './run-log.js';
import { encodeState } from './saved.js';
import { assemble } from './snapshot.js';
import type { CheckpointStore } from './store.js';

export class Saver<B extends Batch> {
  due: CheckpointReason | undefined;
  /** The file written last. */
  last: string | null = null;
  private readonly clock: () => number;
  private savedAt: number;
  private savedPoint = '';

  constructor(
    private readonly options: TrainOptions<B>,
    private readonly store: CheckpointStore,
    private readonly state: LoopState,
    private readonly log: RunLog,
    private readonly reporter: Reporter,
  ) {
    this.clock = options.clock ?? (() => performance.now() / 1000);
    this.savedAt = this.clock();
  }

  /** Skipped steps in a row may come from weights that are broken already: what is on disk from before them is kept. */
  get sound(): boolean {
    return this.state.streak === 0 && !this.state.badLoss;
  }

  /** Whether the last checkpoint stands where the run does. */
  get upToDate(): boolean {
    return this.savedPoint === this.point;
  }

  private get point(): string {
    return `${this.state.ep}/${this.state.it}`;
  }

  noteDue(): void {
    const { config } = this.options;
    if (config.save_it > 0 && this.state.gIt % config.save_it === 0) this.due = 'steps';
    if (config.save_min > 0 && this.clock() - this.savedAt >= 60 * config.save_min) this.due ??= 'time';
  }

  async saveIfDue(): Promise<void> {
    this.noteDue();
    if (this.due && this.sound) await this.save(this.due, false);
  }

  /** Writes the present state. A failure is a warning unless the file is needed; then the next occasion is waited for. */
  async save(reason: CheckpointReason, needed: boolean, best = false): Promise<boolean> {
    const { state, store, reporter, options } = this;
    const since = performance.now();
    try {
      const marks = await this.log.flush();
      const bytes = await store.save(encodeState(await assemble(options, state, marks)), state.gIt);
      if (best) await store.copyBest();
      this.last = store.last;
      this.savedPoint = this.point;
      const seconds = (performance.now() - since) / 1000;
      reporter.checkpoint({ path: store.last, reason, bytes, seconds, ...(best ? { best: store.best } : {}) });
      return true;
    } catch (error) {
      if (needed || !(error instanceof Error)) throw error;
      reporter.warn('checkpoint', `no checkpoint could be written: ${error.message}`);
      return false;
    } finally {
      this.due = undefined;
      this.savedAt = this.clock();
    }
  }
}
