// Whole training steps as recorded graphs: gradients cleared, forward, backward, norms and optimizer, replayed without JavaScript.
import type { Batch } from '../data/index.js';
import type { Capture, Tensor } from '../engine/index.js';
import type { GradStats, StepReport } from '../optim/index.js';
import { ModelOptimizer } from './optimizer.js';
import type { TrainOptions } from './options.js';
import { type StepOutputs, type StepProgram, upload } from './step-program.js';
import type { StepResult } from './task.js';

const NOT = 'steps are not recorded as graphs';

/** Graphs kept at a time; each holds the memory of its whole step. */
const KEPT = 3;

interface Recorded {
  readonly outputs: StepOutputs;
  readonly stats: GradStats;
}

/** What a step has given. */
export interface GraphedStep {
  readonly result: StepResult;
  readonly report: StepReport;
}

/** The step of one key: its inputs, and the calls over them. */
class StepGraph {
  private readonly inputs: Readonly<Record<string, Tensor>>;
  /** Factor of the loss, and the rates of the optimizer. */
  private readonly scale: Tensor;
  private readonly rates: Tensor;
  private readonly capture: Capture<Recorded>;
  private fresh = true;

  constructor(
    private readonly optimizer: ModelOptimizer,
    program: StepProgram,
  ) {
    const { engine } = optimizer.params;
    const rates = optimizer.stepper.rates();
    this.inputs = upload(engine, program.inputs);
    this.scale = engine.tensor(Float32Array.of(optimizer.lossScale), [1]);
    this.rates = engine.tensor(rates, [rates.length]);
    try {
      this.capture = engine.capture(() => {
        optimizer.zeroGrads();
        const outputs = program.calls(this.inputs, this.scale);
        return { outputs, stats: optimizer.stepper.record(this.rates, outputs.loss) };
      });
    } catch (error) {
      this.freeInputs();
      throw error;
    }
  }

  /** A step with the inputs of `program`, which has the key of the one that was recorded. */
  async run(program: StepProgram): Promise<GraphedStep> {
    const { optimizer } = this;
    // Recording has taken the first step already.
    if (!this.fresh) {
      for (const [name, { data }] of Object.entries(program.inputs)) this.inputs[name]!.write(data);
      this.scale.write(Float32Array.of(optimizer.lossScale));
      this.rates.write(optimizer.stepper.rates());
      this.capture.replay();
      optimizer.stepper.optimizer.repeated();
    }
    this.fresh = false;
    const { outputs, stats } = this.capture.outputs;
    const result = await program.finish(outputs);
    return { result, report: await optimizer.settled(stats, Number.isFinite(result.loss)) };
  }

  dispose(): void {
    const { outputs, stats } = this.capture.outputs;
    this.capture.dispose();
    for (const tensor of [...Object.values(outputs), stats.total, ...stats.buckets]) tensor?.dispose();
    this.freeInputs();
  }

  private freeInputs(): void {
    for (const tensor of [...Object.values(this.inputs), this.scale, this.rates]) tensor.dispose();
  }
}

/** The recorded steps of a run by key, the latest used ones. */
export class StepGraphs {
  private readonly graphs = new Map<string, StepGraph>();
  private off = false;

  /** `tell` hears why steps are not recorded. */
  constructor(
    private readonly optimizer: ModelOptimizer,
    private readonly tell: (why: string) => void,
  ) {}

  /**
   * One iteration with its optimizer step, as a graph; undefined where it has to be done by plain calls, from the clearing of the gradients
   * on: a step that cannot be recorded ends the recording of the run.
   */
  async run(program: StepProgram): Promise<GraphedStep | undefined> {
    const graph = await this.find(program);
    if (!graph) return undefined;
    try {
      return await graph.run(program);
    } catch (error) {
      // The error of a call would stick to the gradients, which every graph writes.
      this.dispose();
      this.optimizer.params.renewGrads();
      throw error;
    }
  }

  dispose(): void {
    for (const [key, graph] of [...this.graphs]) this.drop(key, graph);
  }

  private async find(program: StepProgram): Promise<StepGraph | undefined> {
    const { key } = program;
    const known = this.graphs.get(key);
    const graph = known ?? (this.off ? undefined : await this.make(program));
    if (!graph) return undefined;
    this.graphs.delete(key);
    this.graphs.set(key, graph);
    return graph;
  }

  private async make(program: StepProgram): Promise<StepGraph | undefined> {
    const { optimizer } = this;
    const { engine } = optimizer.params;
    const { optimizer: inner } = optimizer.stepper;
    // Before the new one takes its memory.
    const oldest = this.graphs.size >= KEPT ? [...this.graphs][0] : undefined;
    if (oldest) this.drop(...oldest);
    await engine.throttle();
    const { steps } = inner;
    try {
      return new StepGraph(optimizer, program);
    } catch (error) {
      // A step that was taken in part cannot be taken again.
      if (inner.steps !== steps || !(error instanceof Error)) throw error;
      this.off = true;
      this.tell(`${NOT}: ${error.message}`);
      this.dispose();
      return undefined;
    }
  }

  private drop(key: string, graph: StepGraph): void {
    this.graphs.delete(key);
    if (!this.optimizer.params.engine.closed) graph.dispose();
  }
}

/** What records the steps of a run that asks for it; undefined where they are plain calls. `tell` hears why they are. */
export function stepGraphs<B extends Batch>(
  { graph = false, task, optimizer, config }: TrainOptions<B>,
  tell: (why: string) => void,
): StepGraphs | undefined {
  if (!graph) return undefined;
  if (config.ac > 1) tell(`${NOT}: each adds up the gradients of ${config.ac} iterations`);
  else if (!task.program || !(optimizer instanceof ModelOptimizer)) tell(`${NOT}: this task has none`);
  else return new StepGraphs(optimizer, tell);
  return undefined;
}
