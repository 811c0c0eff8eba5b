import type { Capture, Engine, Tensor } from '../engine/index.js';
import { BatchInputs, type GenerateBatch, generateAll, type VarModel } from '../models/var/index.js';
import type { VqvaeModel } from '../models/vqvae/index.js';
import { type RgbImage, splitImages } from './image.js';

/** Graphs kept at a time; each holds the memory of its whole pyramid. */
const KEPT = 4;

interface Pyramid {
  /** Per scale [B, l]. */
  readonly tokens: readonly Tensor[];
  /** [B, H, W, 3] u8. */
  readonly bytes: Tensor;
}

/** What one run of a graph gives. */
export interface GraphResult {
  readonly tokens: Int32Array[];
  readonly images: RgbImage[];
}

/** Transformer, sampling and decoder of a batch size as one recorded graph; labels, seeds and options are inputs of it. */
class PyramidGraph {
  private readonly inputs: BatchInputs;
  private readonly capture: Capture<Pyramid>;
  private fresh = true;

  constructor(engine: Engine, model: VarModel, vqvae: VqvaeModel, batch: GenerateBatch) {
    this.inputs = new BatchInputs(engine, model, batch);
    try {
      this.capture = engine.capture(() => {
        const { fHat, tokens } = generateAll(engine, model, vqvae, this.inputs, batch.moreSmooth);
        return { tokens, bytes: engine.ops.unitToImage(vqvae.fHatToImg(engine, fHat)) };
      });
    } catch (error) {
      this.inputs.dispose();
      throw error;
    }
  }

  /** Enqueued as a whole before it returns, so that runs that overlap do not mix. */
  async run(batch: GenerateBatch, signal: AbortSignal): Promise<GraphResult> {
    // Recording has run the first batch already.
    if (!this.fresh) {
      this.inputs.write(batch);
      this.capture.replay();
    }
    this.fresh = false;
    const { tokens, bytes } = this.capture.outputs;
    const [, height, width] = bytes.shape as [number, number, number];
    const [data, ...maps] = await Promise.all([bytes.read({ signal }), ...tokens.map((t) => t.read({ signal }))]);
    return { tokens: maps as Int32Array[], images: splitImages(data as Uint8Array, height, width) };
  }

  dispose(): void {
    this.capture.dispose();
    for (const t of [...this.capture.outputs.tokens, this.capture.outputs.bytes, this.inputs]) t.dispose();
  }
}

/** The graphs of a VAR by batch size and kind of sampling, the latest used ones. */
export class PyramidGraphs {
  private readonly graphs = new Map<string, PyramidGraph>();

  constructor(
    private readonly engine: Engine,
    private readonly model: VarModel,
    private readonly vqvae: VqvaeModel,
  ) {}

  async run(batch: GenerateBatch, signal: AbortSignal): Promise<GraphResult> {
    const key = `${batch.labels.length} ${batch.moreSmooth}`;
    const graph = this.graphs.get(key) ?? new PyramidGraph(this.engine, this.model, this.vqvae, batch);
    this.graphs.delete(key);
    this.graphs.set(key, graph);
    const oldest = this.graphs.size > KEPT ? [...this.graphs.entries()][0] : undefined;
    if (oldest) this.drop(...oldest);
    try {
      return await graph.run(batch, signal);
    } catch (error) {
      // Its tensors may be poisoned: the next call records anew.
      if (!signal.aborted && this.graphs.get(key) === graph) this.drop(key, graph);
      throw error;
    }
  }

  dispose(): void {
    for (const [key, graph] of [...this.graphs]) this.drop(key, graph);
  }

  private drop(key: string, graph: PyramidGraph): void {
    this.graphs.delete(key);
    if (!this.engine.closed) graph.dispose();
  }
}
