// The training loop of every model family (reference: train.py of FoundationVision/VAR).
import { mkdir } from 'node:fs/promises';
import { checkSignal, checkString } from '../core/check.js';
import { NextscaleError } from '../core/errors.js';
import type { Batch } from '../data/index.js';
import { annealGroups, type StepReport } from '../optim/index.js';
import { DivergedError } from './errors.js';
import { evaluate } from './evaluate.js';
import { lockFolder } from './lock.js';
import { checkLoopConfig, LogPlan, ratesAt } from './loop-config.js';
import { LoopState } from './loop-state.js';
import type { TrainOptions, TrainResult } from './options.js';
import { Reporter } from './reporter.js';
import { changedOptions, type FoundCheckpoint, findCheckpoint, findStart, liesIn } from './resume.js';
import { RunLog } from './run-log.js';
import { Saver } from './saver.js';
import { SkippedImages } from './skipped.js';
import { takeBack } from './snapshot.js';
import { type StepGraphs, stepGraphs } from './step-graphs.js';
import { CheckpointStore } from './store.js';
import type { StepInfo, StepResult } from './task.js';

/**
 * Trains until the last epoch or until the signal fires. The run folder and its logs are written on the way; interrupted and resumed runs
 * equal uninterrupted ones bit for bit. Rejects with DivergedError where steps stay non-finite after all rewinds, with ArgumentError where the
 * folder holds a run with other options, and with the errors of task, data and files.
 */
export async function train<B extends Batch>(options: TrainOptions<B>): Promise<TrainResult> {
  checkLoopConfig(options.config);
  checkString('out', options.out);
  if (options.signal !== undefined) checkSignal(options.signal);
  const run = await Run.open(options);
  let result: TrainResult;
  try {
    result = await run.go();
  } catch (error) {
    // the first error counts
    await run.close().catch(() => undefined);
    throw error;
  }
  await run.close();
  return result;
}

type Ended = 'done' | 'stop' | 'rewind';

class Run<B extends Batch> {
  private readonly plan: LogPlan;
  private reporter!: Reporter;
  private log!: RunLog;
  private saver!: Saver<B>;
  private rewinds = 0;
  /** The first loss of the accumulation under way that was not finite. */
  private badLoss: number | undefined;
  private readonly skippedImages: SkippedImages;
  /** Where steps are recorded. */
  private graphs: StepGraphs | undefined;

  private constructor(
    private readonly options: TrainOptions<B>,
    private readonly store: CheckpointStore,
    private readonly state: LoopState,
    private readonly unlock: () => Promise<void>,
  ) {
    this.plan = new LogPlan(options.config, this.iters);
    this.skippedImages = new SkippedImages([options.batches, options.validation]);
  }

  private get iters(): number {
    return this.options.batches.iters;
  }

  private get stopping(): boolean {
    return this.options.signal?.aborted === true;
  }

  /** Opens the folder, goes on from its checkpoint or starts afresh. */
  static async open<B extends Batch>(options: TrainOptions<B>): Promise<Run<B>> {
    const { out } = options;
    await mkdir(out, { recursive: true });
    const unlock = await lockFolder(out);
    try {
      return await Run.openLocked(options, unlock);
    } catch (error) {
      await unlock();
      throw error;
    }
  }

  private static async openLocked<B extends Batch>(options: TrainOptions<B>, unlock: () => Promise<void>): Promise<Run<B>> {
    const { out, task, config } = options;
    const store = new CheckpointStore(out, task.family === 'var' ? 'ar' : 'vae', config.keep);
    await store.sweep();
    const run = new Run(options, store, new LoopState(), unlock);
    const found = await findStart(options, store);
    try {
      await run.begin(found);
    } catch (error) {
      await run.log?.close().catch(() => undefined);
      throw error;
    } finally {
      found?.checkpoint.close();
    }
    return run;
  }

  private async begin(found: FoundCheckpoint | undefined): Promise<void> {
    const { options, state } = this;
    const { out, task, config, args = {} } = options;
    const marks = found && (await takeBack(options, state, found));
    if (found) this.store.resumedFrom(found.path, state.gIt);
    // a checkpoint from elsewhere starts logs of its own
    const own = found && liesIn(out, found.path) ? marks : undefined;
    this.log = await RunLog.open({ out, ...(own ? { resume: { marks: own, gIt: state.gIt } } : {}) });
    this.reporter = new Reporter(this.log, task.head, config, this.iters, state, options.onEvent);
    this.saver = new Saver(options, this.store, state, this.log, this.reporter);
    this.log.head({ is_master: true, ...options.head });
    await this.log.writeConfig(args, state.gIt);
    const { ep, it, gIt } = state;
    const maxIt = config.ep * this.iters;
    const { parameters } = options.optimizer;
    this.reporter.emit({ type: 'start', out, family: task.family, ep, it, itersPerEp: this.iters, maxIt, parameters });
    this.graphs = stepGraphs(options, (why) => this.reporter.warn('graph', why));
    for (const message of found?.warnings ?? []) this.reporter.warn('checkpoint', `${message}; an older checkpoint is taken`);
    if (!found) return await this.prepare();
    this.reporter.emit({ type: 'resume', path: found.path, ep, it, gIt });
    const changed = changedOptions(found.state.args, args);
    if (changed.length > 0) this.reporter.warn('config', `options that differ from those of the checkpoint: ${changed.join(', ')}`);
  }

  private async prepare(): Promise<void> {
    const { task, batches, signal, saveStart = true } = this.options;
    await task.prepare?.(batches.epoch(0, 0, signal), signal);
    if (saveStart) await this.saver.save('start', true);
  }

  async go(): Promise<TrainResult> {
    const { config } = this.options;
    while (this.state.ep < config.ep) {
      const ended = await this.iterations();
      if (ended === 'rewind') await this.rewind();
      else if (ended === 'stop' || !(await this.endEpoch())) return await this.stopped();
    }
    return this.result('finished', `finished: ${config.ep} epochs, ${this.state.gIt} iterations`);
  }

  async close(): Promise<void> {
    this.graphs?.dispose();
    try {
      await this.log.close();
    } finally {
      await this.unlock();
    }
  }

  /** The iterations that are left of the epoch. */
  private async iterations(): Promise<Ended> {
    const { state, options, iters, reporter } = this;
    if (state.it >= iters) return 'done';
    reporter.beginEpoch();
    const source = options.batches.epoch(state.ep, state.it)[Symbol.asyncIterator]();
    try {
      while (state.it < iters) {
        if (this.stopping) return 'stop';
        const since = performance.now();
        const next = await source.next();
        if (next.done) throw new NextscaleError('ERR_DATA', `the data ends after ${state.it} of ${iters} batches of epoch ${state.ep}`);
        if (this.stopping) return 'stop';
        if (await this.iteration(next.value, since, performance.now())) return 'rewind';
        if (state.it < iters) await this.saver.saveIfDue();
      }
      return 'done';
    } finally {
      await source.return?.();
    }
  }

  /** One micro-batch, and the optimizer's step where its turn has come. True: the run has to go back. */
  private async iteration(batch: B, since: number, got: number): Promise<boolean> {
    const { state, options, plan, reporter, iters } = this;
    const { task, optimizer, config } = options;
    const { ep, it, gIt } = state;
    const point = ratesAt(config, iters, gIt);
    const rates = { ...point, ...annealGroups(optimizer.groups, point) };
    const stepping = (gIt + 1) % config.ac === 0;
    const [log, detailed, print] = [plan.logs(it, gIt), plan.detailed(gIt), plan.prints(it)];
    const maxIt = config.ep * iters;
    const info: StepInfo = { ep, it, gIt, itersPerEp: iters, maxIt, stepping, lossScale: optimizer.lossScale, log, detailed };
    const { result, report } = await this.compute(batch, info);
    const skipped = report?.skipped ?? false;
    this.count(result, report, log, rates.maxLr);
    const warnings = stepping ? ((await task.afterStep?.(info, skipped)) ?? []) : [];
    const now = performance.now();
    const seconds = (now - since) / 1000;
    state.seconds += seconds;
    reporter.step({ result, report, rates, stepping, skipped, log, detailed, print, seconds, dataSeconds: (got - since) / 1000 });
    if (skipped) reporter.skippedStep(report!, this.badLoss);
    for (const message of warnings) reporter.warn('task', message);
    if (stepping) {
      state.badLoss = false;
      this.badLoss = undefined;
    }
    state.it++;
    state.gIt++;
    return state.streak >= config.max_nan;
  }

  /** Gradients of a micro-batch and, where its turn has come, the optimizer's step: as one graph, or by plain calls. */
  private async compute(batch: B, info: StepInfo): Promise<{ result: StepResult; report?: StepReport | undefined }> {
    const { task, optimizer, config } = this.options;
    const program = this.graphs && task.program?.(batch, info);
    const graphed = program && (await this.graphs!.run(program));
    if (graphed) {
      this.noteLoss(graphed.result.loss);
      return graphed;
    }
    if (info.gIt % config.ac === 0) optimizer.zeroGrads();
    const result = await (program ? program.plain() : task.step(batch, info));
    this.noteLoss(result.loss);
    return { result, report: info.stepping ? await optimizer.step(this.state.badLoss) : undefined };
  }

  private noteLoss(loss: number): void {
    this.state.lastLoss = loss;
    if (Number.isFinite(loss)) return;
    this.state.badLoss = true;
    this.badLoss ??= loss;
  }

  private count(result: StepResult, report: StepReport | undefined, log: boolean, lr: number): void {
    const { state } = this;
    if (report) {
      state.scaleLog2 = report.scaleLog2;
      state.streak = report.skipped ? state.streak + 1 : 0;
      if (report.skipped) {
        state.skipped++;
        state.epochSkipped++;
      } else state.gradNorm = report.gradNorm;
    }
    if (!log) return;
    const finite = Object.entries(result.metrics).filter(([, value]) => Number.isFinite(value));
    state.meters.update({ tlr: lr, ...(state.gradNorm >= 0 ? { tnm: state.gradNorm } : {}), ...Object.fromEntries(finite) });
  }

  /** Evaluation, epoch metrics, checkpoint. False: interrupted before any of it counted. */
  private async endEpoch(): Promise<boolean> {
    const { state, options, reporter, saver } = this;
    const { config, task } = options;
    const last = state.ep + 1 === config.ep;
    const due = options.validation !== undefined && (last || (state.ep + 1) % config.val_ep === 0);
    const bestBefore = state.best;
    let better = false;
    if (due) {
      const evaluated = await evaluate(options, state, reporter);
      if (evaluated === undefined) return false;
      better = evaluated;
    }
    const means = state.meters.averages();
    const { metrics: extra, warnings } = task.endEpoch?.() ?? { metrics: {}, warnings: [] };
    state.noteMeans(means);
    reporter.epoch(means, extra, due ? state.evaluation : {}, ratesAt(config, this.iters, Math.max(state.gIt - 1, 0)));
    for (const message of warnings) reporter.warn('task', message);
    this.skippedImages.tell(reporter);
    if (due && task.images) await this.log.images(await task.images(), state.ep + 1);
    state.ep++;
    state.it = 0;
    state.epochSkipped = 0;
    state.meters.reset();
    saver.noteDue();
    const saving = last || ((config.save_ep || due || saver.due !== undefined) && saver.sound);
    const saved = saving && (await saver.save(last ? 'end' : 'epoch', last, better));
    // what was not kept cannot be the best
    if (better && !saved) state.best = bestBefore;
    return true;
  }

  /** Back to the last checkpoint, the same way forward: order and augmentation are what they were. */
  private async rewind(): Promise<void> {
    const { options, state, store, reporter } = this;
    const { max_nan: inRow, max_rewind: most } = options.config;
    const where = `epoch ${state.ep}, iteration ${state.it - 1}`;
    if (this.rewinds >= most)
      throw new DivergedError(
        `${inRow} steps in a row were not finite in ${where}, after ${this.rewinds} rewinds: lower --tblr, or clip harder with --tclip; the last good checkpoint is ${store.last}`,
      );
    const found = await findCheckpoint(await store.candidates(), (path) => store.verify(path));
    if (!found) throw new DivergedError(`${inRow} steps in a row were not finite in ${where}, and there is no checkpoint to go back to`);
    try {
      this.rewinds++;
      const { skipped } = state;
      const marks = await takeBack(options, state, found);
      store.resumedFrom(found.path, state.gIt);
      await this.log.rewind(marks, state.gIt);
      state.skipped = skipped;
      reporter.warn(
        'rewind',
        `${inRow} steps in a row were not finite in ${where}: back to ${found.path} (epoch ${state.ep}, iteration ${state.it})`,
      );
    } finally {
      found.checkpoint.close();
    }
  }

  private async stopped(): Promise<TrainResult> {
    const { state, store, saver, reporter } = this;
    const { sound } = saver;
    this.skippedImages.tell(reporter);
    if (sound && !saver.upToDate) await saver.save('stop', true);
    const where = `epoch ${state.ep}, iteration ${state.it}`;
    const line = sound
      ? `stopped in ${where}; saved ${store.last}: the same command goes on from there`
      : `stopped in ${where} after ${state.streak} skipped steps; not saved, ${store.last} is from before them`;
    return this.result('stopped', line);
  }

  private result(status: 'finished' | 'stopped', line: string): TrainResult {
    const { state, options } = this;
    this.reporter.end(status, line);
    const { ep, gIt, lastLoss: loss, bestMeans, evaluation, best, skipped, seconds } = state;
    const reached = { ep, gIt, loss, bestMeans, evaluation, best, skipped, rewinds: this.rewinds, seconds };
    return { status, out: options.out, ...reached, checkpoint: this.saver.last };
  }
}
