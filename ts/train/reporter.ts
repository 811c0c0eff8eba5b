// From what happens in the loop to events, log lines and TensorBoard tags (names as in the reference's train.py and trainer.py).
import type { SchedulePoint, ScheduleRange, StepReport } from '../optim/index.js';
import type { CheckpointEvent, EvalEvent, StepEvent, TrainEvent, WarningCode } from './events.js';
import { formatDate, formatDelta, formatF } from './format.js';
import type { LoopConfig } from './loop-config.js';
import type { LoopState } from './loop-state.js';
import { epochHeader, Meter, progressLine } from './meters.js';
import type { RunLog } from './run-log.js';
import type { Metrics, StepResult } from './task.js';

/** Epochs' worth of iterations that evaluation and saving cost, for the estimate of the end. */
const OTHER_COST_ITS = 15;
/** Logs are written at least so often, in milliseconds. */
const FLUSH_MS = 2000;
/** Names of epoch means in AR_ep_loss. */
const EPOCH_TAGS: Readonly<Record<string, string>> = { Lm: 'L_mean', Lt: 'L_tail', Accm: 'acc_mean', Acct: 'acc_tail' };

export interface StepFacts {
  result: StepResult;
  report: StepReport | undefined;
  rates: SchedulePoint & ScheduleRange;
  stepping: boolean;
  skipped: boolean;
  log: boolean;
  detailed: boolean;
  print: boolean;
  seconds: number;
  dataSeconds: number;
}

export class Reporter {
  private time = new Meter(30, 'avg:.4f');
  private data = new Meter(30, 'avg:.4f');
  private epochStarted = performance.now();
  private flushedAt = performance.now();

  constructor(
    private readonly log: RunLog,
    private readonly head: string,
    private readonly config: LoopConfig,
    private readonly iters: number,
    private readonly state: LoopState,
    private readonly listener: ((event: TrainEvent) => void) | undefined,
  ) {}

  emit(event: TrainEvent, keep = true): void {
    if (keep) this.log.event(event);
    this.listener?.(event);
  }

  warn(code: WarningCode, message: string): void {
    this.emit({ type: 'warning', code, message, gIt: this.state.gIt });
  }

  /** A step that was not taken; `badLoss`: the first loss of its accumulation that was not finite. */
  skippedStep({ nonFinite, firstBad }: StepReport, badLoss: number | undefined): void {
    const { ep, it, streak, skipped } = this.state;
    const loss = badLoss === undefined ? [] : [`loss is ${badLoss}`];
    const grads = nonFinite > 0 ? [`${nonFinite} gradients are not finite, first in ${firstBad}`] : [];
    const why = [...loss, ...grads].join('; ');
    this.warn('skipped', `step skipped in epoch ${ep}, iteration ${it}: ${why} (${streak} in a row, ${skipped} in all)`);
  }

  beginEpoch(): void {
    this.time = new Meter(30, 'avg:.4f');
    this.data = new Meter(30, 'avg:.4f');
    this.epochStarted = performance.now();
  }

  /** Of the iteration just done; `state` still points to it. */
  step(facts: StepFacts): void {
    const { state, config, iters } = this;
    const { result, report, rates, stepping, skipped, seconds, dataSeconds } = facts;
    this.time.update(seconds);
    this.data.update(dataSeconds);
    const event: StepEvent = {
      type: 'step',
      ep: state.ep,
      it: state.it,
      gIt: state.gIt,
      loss: result.loss,
      lr: rates.maxLr,
      wd: rates.maxWd,
      stepping,
      ...(report ? { gradNorm: report.gradNorm } : {}),
      ...(report?.scaleLog2 != null ? { scaleLog2: report.scaleLog2 } : {}),
      skipped,
      metrics: result.metrics,
      seconds,
      dataSeconds,
    };
    this.emit(event, facts.log || skipped);
    if (facts.detailed) this.board(facts);
    this.flushSometimes(facts.print);
    if (!facts.print) return;
    const point = { ep: state.ep, eps: config.ep, it: state.it, iters, secondsPerIt: this.time.globalAvg };
    const line = progressLine({ ...point, meters: state.meters.toString(), time: this.time, data: this.data });
    this.emit({ type: 'progress', ep: state.ep, it: state.it, line }, false);
  }

  /** Whoever watches the logs sees them grow; what cannot be written is tried again by the next flush. */
  private flushSometimes(now: boolean): void {
    const time = performance.now();
    if (!now && time - this.flushedAt < FLUSH_MS) return;
    this.flushedAt = time;
    this.log.flush().catch(() => undefined);
  }

  private board({ result, report, rates }: StepFacts): void {
    const { head, state, config, log } = this;
    const scalars: Metrics = {
      [`${head}_opt_lr/lr_min/sche_tlr`]: rates.minLr,
      [`${head}_opt_lr/lr_max/sche_tlr`]: rates.maxLr,
      [`${head}_opt_wd/wd_max/sche_twd`]: rates.maxWd,
      [`${head}_opt_wd/wd_min/sche_twd`]: rates.minWd,
    };
    const scale = report?.scaleLog2 ?? state.scaleLog2;
    if (scale !== null) scalars[`${head}_opt_grad/fp16/scale_log2`] = scale;
    if (config.tclip > 0) {
      if (state.gradNorm >= 0) scalars[`${head}_opt_grad/grad/grad_norm`] = state.gradNorm;
      scalars[`${head}_opt_grad/grad/grad_clip`] = config.tclip;
    }
    log.scalars({ ...scalars, ...result.scalars }, state.gIt);
    for (const [tag, values] of Object.entries(result.histograms ?? {})) log.board.histogram(tag, values, state.gIt);
  }

  evaluation(metrics: Metrics, count: number, seconds: number, best: boolean): EvalEvent {
    const { state } = this;
    const values = Object.entries(metrics).map(([name, value]) => `${name}: ${formatF(value, 4)}`);
    const line = ` [*] [ep${state.ep}]  (val ${count})  ${values.join(', ')},  Val cost: ${formatF(seconds, 2)}s${best ? '  (best)' : ''}`;
    const event: EvalEvent = { type: 'eval', ep: state.ep, metrics, count, seconds, best, line };
    this.emit(event);
    return event;
  }

  /** `means`: over the epoch's iterations; `extra`: what the task measured over it. */
  epoch(means: Metrics, extra: Metrics, evaluation: Metrics, rates: SchedulePoint): void {
    const { state, config, iters, head, log } = this;
    const { tlr: _tlr, tnm: _tnm, ...losses } = means;
    const left = (config.ep - state.ep - 1) * iters + (config.ep - state.ep) * OTHER_COST_ITS;
    const remainSeconds = state.ep + 1 === config.ep ? 0 : left * this.time.median;
    const [remain, finish] = [formatDelta(Math.round(remainSeconds)), formatDate(Date.now() + 1000 * remainSeconds)];
    const digits = (name: string) => (name.startsWith('Acc') ? 2 : 3);
    const shown = Object.entries(losses).map(
      ([name, value]) => `${name}: ${formatF(state.bestMeans[name] ?? value, digits(name))} (${formatF(value, digits(name))})`,
    );
    const total = (performance.now() - this.epochStarted) / 1000;
    const time = `${epochHeader(state.ep, config.ep)}   Total time:      ${formatDelta(total)}   (${formatF(total / iters, 3)} s / it)`;
    const line = `${time}\n     [ep${state.ep}]  (training )  ${[...shown, `Remain: ${remain}`, `Finish: ${finish}`].join(',  ')}`;
    this.emit({ type: 'epoch', ep: state.ep, metrics: { ...means, ...extra }, skipped: state.epochSkipped, remainSeconds, line });
    const measured = Object.fromEntries(Object.entries(evaluation).map(([name, value]) => [validationName(name), value]));
    const tag = (name: string) => (name.includes('/') ? name : `${head}_ep_loss/${EPOCH_TAGS[name] ?? name}`);
    const scalars = Object.entries({ ...losses, ...extra, ...measured }).map(([name, value]) => [tag(name), value] as const);
    log.scalars({ ...Object.fromEntries(scalars), [`${head}_z_burnout/rest_hours`]: Math.round(remainSeconds / 36) / 100 }, state.ep + 1);
    const renamed = (metrics: Metrics) => Object.fromEntries(Object.entries(metrics).map(([name, v]) => [EPOCH_TAGS[name] ?? name, v]));
    log.dump({
      it: `${state.it}/${iters}`,
      ep: `${state.ep + 1}/${config.ep}`,
      lr: rates.lr,
      wd: rates.wd,
      grad_norm: means.tnm,
      ...renamed(losses),
      ...renamed(Object.fromEntries(Object.entries(extra).filter(([name]) => !name.includes('/')))),
      ...measured,
      remain_time: remain,
      finish_time: finish,
    });
  }

  checkpoint(event: Omit<CheckpointEvent, 'type' | 'ep' | 'it' | 'gIt'>): void {
    const { ep, it, gIt } = this.state;
    this.emit({ type: 'checkpoint', ep, it, gIt, ...event });
  }

  /** The last line of a run. */
  end(status: 'finished' | 'stopped', line: string): void {
    this.emit({ type: 'end', status, gIt: this.state.gIt, seconds: this.state.seconds, line });
  }
}

/** vL_mean stays as the reference has it; names that training metrics have too get a prefix. */
function validationName(name: string): string {
  return /^v(L|acc)_/.test(name) ? name : `val_${name}`;
}
