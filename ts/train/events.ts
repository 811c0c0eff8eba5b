import type { Metrics } from './task.js';

/** What a run tells while it goes on; every event is plain data. Losses and norms that are not finite are NaN (null in JSON). */
export type TrainEvent =
  | StartEvent
  | StepEvent
  | ProgressEvent
  | EpochEvent
  | EvalEvent
  | CheckpointEvent
  | WarningEvent
  | ResumeEvent
  | EndEvent;

export interface StartEvent {
  type: 'start';
  out: string;
  family: string;
  ep: number;
  it: number;
  itersPerEp: number;
  maxIt: number;
  parameters: number;
}

/** After every iteration. */
export interface StepEvent {
  type: 'step';
  ep: number;
  it: number;
  gIt: number;
  loss: number;
  lr: number;
  wd: number;
  /** Whether the optimizer's turn came after this iteration. */
  stepping: boolean;
  /** Of the unscaled gradients; absent between the steps of an accumulation. */
  gradNorm?: number;
  /** log2 of the loss scale, where there is a GradScaler. */
  scaleLog2?: number;
  skipped: boolean;
  /** Empty in iterations whose metrics are not read. */
  metrics: Metrics;
  /** Seconds of the whole iteration, and of waiting for its data. */
  seconds: number;
  dataSeconds: number;
}

/** Where the reference prints a line. */
export interface ProgressEvent {
  type: 'progress';
  ep: number;
  it: number;
  line: string;
}

export interface EpochEvent {
  type: 'epoch';
  ep: number;
  /** Means over the epoch, and what the task measured over it. */
  metrics: Metrics;
  skipped: number;
  remainSeconds: number;
  line: string;
}

export interface EvalEvent {
  type: 'eval';
  ep: number;
  metrics: Metrics;
  /** Images of the validation set. */
  count: number;
  seconds: number;
  /** The best so far. */
  best: boolean;
  line: string;
}

export type CheckpointReason = 'start' | 'steps' | 'time' | 'epoch' | 'stop' | 'end';

export interface CheckpointEvent {
  type: 'checkpoint';
  path: string;
  reason: CheckpointReason;
  ep: number;
  it: number;
  gIt: number;
  bytes: number;
  seconds: number;
  /** Copied to this path as the best so far. */
  best?: string;
}

export type WarningCode = 'graph' | 'skipped' | 'rewind' | 'checkpoint' | 'config' | 'task' | 'data';

export interface WarningEvent {
  type: 'warning';
  code: WarningCode;
  message: string;
  gIt: number;
}

export interface ResumeEvent {
  type: 'resume';
  path: string;
  ep: number;
  it: number;
  gIt: number;
}

export interface EndEvent {
  type: 'end';
  status: 'finished' | 'stopped';
  gIt: number;
  seconds: number;
  line: string;
}
