import { OutOfMemoryError } from '../core/errors.js';
import type { Capture, Engine, Tensor } from '../engine/index.js';
import { BatchInputs, type GenerateBatch, generateAll, type VarModel } from '../models/var/index.js';
import type { VqvaeModel } from '../models/vqvae/index.js';
import { type RgbImage, splitImages } from './image.js';
import { imagesPerPart } from './vqvae.js';

/** Graphs kept at a time; each holds the memory of its whole pyramid. */
const KEPT = 4;

/** So many times the images that a decoder takes elsewhere: small maps do not fill a GPU. */
const PARTS = 4;

interface Pyramid {
  /** Per scale [B, l]. */
  readonly tokens: readonly Tensor[];
  /** [n, H, W, 3] u8, together B images. */
  readonly parts: readonly Tensor[];
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
        return { tokens, parts: decodeParts(engine, vqvae, fHat) };
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
    const { tokens, parts } = this.capture.outputs;
    const [, height, width] = parts[0]!.shape as [number, number, number];
    const data = await Promise.all([...parts, ...tokens].map((t) => t.read({ signal })));
    const bytes = data.slice(0, parts.length) as Uint8Array[];
    return { tokens: data.slice(parts.length) as Int32Array[], images: bytes.flatMap((b) => splitImages(b, height, width)) };
  }

  dispose(): void {
    this.capture.dispose();
    const { tokens, parts } = this.capture.outputs;
    for (const t of [...tokens, ...parts, this.inputs]) t.dispose();
  }
}

/** Decodes a few images at a time, so that a large batch takes the decoder's memory of those few. */
export function decodeParts(engine: Engine, vqvae: VqvaeModel, fHat: Tensor): Tensor[] {
  const [count, h, w, channels] = fHat.shape as [number, number, number, number];
  const step = PARTS * imagesPerPart(h * vqvae.downsample, w * vqvae.downsample);
  const parts: Tensor[] = [];
  for (let at = 0; at < count; at += step) {
    const n = Math.min(step, count - at);
    const part = engine.scope(() =>
      engine.ops.unitToImage(vqvae.fHatToImg(engine, engine.view(fHat, at * h * w * channels, [n, h, w, channels]))),
    );
    parts.push(part);
  }
  return parts;
}

/** The graphs of a VAR by batch size and kind of sampling, the latest used ones. */
export class PyramidGraphs {
  private readonly graphs = new Map<string, PyramidGraph>();

  constructor(
    private readonly engine: Engine,
    private readonly model: VarModel,
    private readonly vqvae: VqvaeModel,
  ) {}

  async run(batch: GenerateBatch, signal: AbortSignal, again = false): Promise<GraphResult> {
    const key = `${batch.labels.length} ${batch.moreSmooth}`;
    const graph = this.graphs.get(key) ?? new PyramidGraph(this.engine, this.model, this.vqvae, batch);
    this.graphs.delete(key);
    this.graphs.set(key, graph);
    const oldest = this.graphs.size > KEPT ? [...this.graphs.entries()][0] : undefined;
    if (oldest) this.drop(...oldest);
    try {
      return await graph.run(batch, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      // Its tensors may be poisoned: the next call records anew.
      if (this.graphs.get(key) === graph) this.drop(key, graph);
      if (!(error instanceof OutOfMemoryError) || this.graphs.size === 0 || again) throw error;
      // The graphs of other batch sizes hold memory that this one may do with. Once: runs that overlap would drop each other's for ever.
      this.dispose();
      return await this.run(batch, signal, true);
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
