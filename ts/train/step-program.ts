import type { DType, TypedData } from '../core/dtype.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { StepResult } from './task.js';

/** Values of one input of a step. */
export interface StepInput {
  readonly data: TypedData;
  readonly shape: readonly number[];
  readonly dtype?: DType;
}

export type StepInputs = Readonly<Record<string, StepInput>>;
export type InputTensors = Readonly<Record<string, Tensor>>;

/** What the calls of a step give: the loss [1], and whatever its metrics need. */
export interface StepOutputs {
  readonly loss: Tensor;
  readonly [name: string]: Tensor | undefined;
}

/** One iteration of a task as calls over inputs. Programs of one key make the same calls, so that they can be recorded once. */
export interface StepProgram {
  readonly key: string;
  /** Everything that differs between iterations of one key. */
  readonly inputs: StepInputs;
  /** Forward and backward pass call by call, with pauses in which the event loop runs. */
  plain(): Promise<StepResult>;
  /** The same calls at once, for a capture; gradients are of loss * scale, `scale` [1]. */
  calls(inputs: InputTensors, scale: Tensor): StepOutputs;
  /** Reads what a recorded run gave. */
  finish(outputs: StepOutputs): Promise<StepResult>;
}

/** The inputs on the engine; the caller disposes them. */
export function upload(engine: Engine, inputs: StepInputs): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(inputs).map(([name, { data, shape, dtype }]) => [name, engine.tensor(data, shape, dtype)]));
}
