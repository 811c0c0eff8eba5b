import { Tape } from '../../autograd/index.js';
import { ArgumentError, ShapeError } from '../../core/errors.js';
import type { Graph, Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { Embedding, type KvCache, Linear, layerNormMod, Module, type Take, zeros } from '../../nn/index.js';
import { replace, type Tap } from '../tap.js';
import { AdaLnBlock } from './block.js';
import { cacheLength, type VarConfig } from './config.js';
import { type VarInitOptions, varInit } from './init.js';

/** What a label turns into: computed once per image, used by every block at every scale. */
export interface Conditioning {
  /** Class embedding [B, 1, C]: the start token. */
  readonly sos: Tensor;
  /** One [B, 6, C] per block: gamma1, gamma2, scale1, scale2, shift1, shift2. */
  readonly mods: readonly Tensor[];
  /** [B, 2, C]: scale, shift in front of the head. */
  readonly headMod: Tensor;
}

export interface ForwardOptions {
  /** Progressive training: only scales 0..progSi are computed; -1: all. */
  readonly progSi?: number;
  /**
   * Stochastic depth (Huang et al. 2016, arXiv:1603.09382): per block a factor for every row of its modulation, [B, 6, 1]: 0 or
   * 1 / (1 - rate) for the gates (rows 0 and 1), 1 for the others; undefined: nothing is dropped.
   */
  readonly dropPath?: readonly (Tensor | undefined)[];
  /** On a tape: every block is computed again in the backward pass, so that only its input is kept. */
  readonly checkpoint?: boolean;
  readonly tap?: Tap;
}

/** Graph of the VAR transformer. Every method enqueues and returns at once; the caller disposes what it gets. */
export class VarModel extends Module {
  /** First and last-plus-one token of every scale. */
  readonly beginEnds: readonly (readonly [number, number])[];
  /** Tokens of all scales, L. */
  readonly length: number;
  private readonly wordEmbed: Linear;
  private readonly classEmb: Embedding;
  private readonly lvlEmbed: Embedding;
  private readonly sharedAdaLin: Linear | null;
  private readonly blocks: AdaLnBlock[];
  private readonly headAdaLin: Linear;
  private readonly head: Linear;
  private readonly names: { start: string; position: string };
  /** [1, firstL, C]. */
  private start!: Tensor;
  /** Level plus position embedding, [1, L, C]. */
  private lvlPos!: Tensor;

  constructor(
    readonly config: VarConfig,
    initOptions: VarInitOptions = {},
  ) {
    super('');
    const { embedDim: width, depth, numClasses, patchNums, vocabSize, zChannels } = config;
    let at = 0;
    this.beginEnds = patchNums.map((pn) => {
      const begin = at;
      at += pn * pn;
      return [begin, at] as const;
    });
    this.length = at;
    const init = varInit(config, initOptions);
    const plain = { init: init.linear, biasInit: zeros };
    this.names = {
      start: this.param('pos_start', [1, patchNums[0]! ** 2, width], init.position),
      position: this.param('pos_1LC', [1, at, width], init.position),
    };
    this.param('lvl_1L', [1, at], { kind: 'values', values: () => this.levels() }, { buffer: true, optional: true, dtype: 'i64' });
    this.param('attn_bias_for_masking', [1, 1, at, at], { kind: 'values', values: () => this.mask() }, { buffer: true, optional: true });
    this.wordEmbed = this.add(new Linear('word_embed', zChannels, width, plain));
    this.classEmb = this.add(new Embedding('class_emb', numClasses + 1, width, init.embedding));
    this.lvlEmbed = this.add(new Embedding('lvl_embed', patchNums.length, width, init.embedding));
    this.sharedAdaLin = config.sharedAln ? this.add(new Linear('shared_ada_lin.1', width, 6 * width, plain)) : null;
    this.blocks = Array.from({ length: depth }, (_, i) => this.add(new AdaLnBlock(i, config, init)));
    this.headAdaLin = this.add(new Linear('head_nm.ada_lin.1', width, 2 * width, { init: init.headAdaLin, biasInit: zeros }));
    this.head = this.add(new Linear('head', width, vocabSize, { init: init.head, biasInit: zeros }));
  }

  protected override attach(ops: Ops<Tensor>, take: Take): void {
    const position = take(this.names.position)!;
    const { engine } = position;
    this.start = this.use(take, this.names.start);
    this.lvlPos = this.hold(
      engine.scope(() => {
        const level = this.lvlEmbed.forward(ops, engine.tensor(this.levels(), [1, this.length]));
        return ops.binary(level, position, { fn: 'add' });
      }),
    );
  }

  /** Embeds the labels and projects them to the modulation of every block; labels are 0..numClasses (numClasses: unconditional). */
  condition(g: Graph, labels: Int32Array, tap?: Tap): Conditioning {
    this.checkLabels(labels);
    return g.scope(() => this.conditionOf(g, g.tensor(labels, [labels.length, 1]), tap));
  }

  /** Throws ArgumentError for a label outside 0..numClasses. */
  checkLabels(labels: Int32Array): void {
    const { numClasses } = this.config;
    const bad = labels.findIndex((label) => label < 0 || label > numClasses);
    if (bad >= 0)
      throw new ArgumentError(`labels[${bad}]: ${labels[bad]} was given, accepted is 0 to ${numClasses} (${numClasses}: unconditional)`);
  }

  /** condition() of labels [B, 1] i32 that are on the device already. */
  conditionOf(g: Graph, idx: Tensor, tap?: Tap): Conditioning {
    const { ops } = g;
    const { embedDim: width } = this.config;
    const batch = idx.shape[0]!;
    return g.scope(() => {
      const sos = this.classEmb.forward(ops, idx);
      const act = ops.unary(sos, { fn: 'silu' });
      const shared = this.sharedAdaLin ? ops.reshape(this.sharedAdaLin.forward(ops, act), { shape: [batch, 6, width] }) : null;
      tap?.('cond', shared ?? sos);
      const mods = this.blocks.map((block) => g.scope(() => block.modulation(ops, shared ?? act)));
      const headMod = ops.reshape(this.headAdaLin.forward(ops, act), { shape: [batch, 2, width] });
      return { sos, mods, headMod };
    });
  }

  /** Input of the first scale, [B, firstL, C]. */
  embedFirst(g: Graph, sos: Tensor): Tensor {
    const { ops } = g;
    return g.scope(() => {
      const x = ops.binary(sos, this.start, { fn: 'add' });
      return ops.binary(x, this.positions(g, 0, 1), { fn: 'add' });
    });
  }

  /** Input of scale `si` from the features of its token map, [B, l, Cvae] to [B, l, C]. */
  embedNext(g: Graph, features: Tensor, si: number): Tensor {
    return g.scope(() => {
      const x = this.wordEmbed.forward(g.ops, features);
      return g.ops.binary(x, this.positions(g, si, si + 1), { fn: 'add' });
    });
  }

  /** One block on the tokens of one scale, with its cache. */
  step(g: Graph, block: number, x: Tensor, cond: Conditioning, cache: KvCache | undefined, si: number): Tensor {
    const append = cache !== undefined && si < this.config.patchNums.length - 1;
    return this.blocks[block]!.forward(g.ops, x, cond.mods[block]!, { cache, pos: this.beginEnds[si]![0], append });
  }

  /** [B, l, C] to logits [B, l, V]. */
  logits(g: Graph, x: Tensor, cond: Conditioning, tap?: Tap): Tensor {
    const { precision: dtype } = this;
    const h = layerNormMod(g.ops, x, cond.headMod, { scaleAt: 0, shiftAt: 1, eps: this.config.normEps, dtype });
    tap?.('head_nm', h);
    return replace(h, this.head.forward(g.ops, h));
  }

  /** Empty caches of every block for `batch` rows, in the model's precision; their size is `cacheBytes`. */
  caches(g: Graph, batch: number): KvCache[] {
    const { numHeads, embedDim } = this.config;
    const shape = [batch, numHeads, cacheLength(this.config), embedDim / numHeads];
    const { depth } = this.config;
    // One block of memory: the system gives it in huge pages.
    const all = g.empty([depth * 2, ...shape], this.precision);
    const part = (i: number) => all.engine.view(all, (i * all.size) / (2 * depth), shape);
    const caches = this.blocks.map((_, i) => ({ k: part(2 * i), v: part(2 * i + 1) }));
    all.dispose();
    return caches;
  }

  /**
   * Teacher-forced logits [B, L, V] (with progSi: of its scales). labels [B], or [B, 1] i32 on the device;
   * x [B, >= L - firstL, Cvae] from idxBlToVarInput, null where progSi is 0.
   */
  forward(g: Graph, labels: Int32Array | Tensor, x: Tensor | null, options: ForwardOptions = {}): Tensor {
    const { progSi = -1, dropPath, checkpoint = false, tap } = options;
    const sn = this.config.patchNums.length;
    if (!Number.isInteger(progSi) || progSi < -1 || progSi >= sn)
      throw new ArgumentError(`progSi: ${progSi} was given, accepted is -1 (all scales) to ${sn - 1}`);
    const end = progSi < 0 ? this.length : this.beginEnds[progSi]![1];
    const rest = end - this.beginEnds[0]![1];
    const onDevice = labels instanceof Int32Array ? undefined : labels;
    if (rest > 0) this.checkInput(x, onDevice ? onDevice.shape[0]! : (labels as Int32Array).length, rest);
    if (dropPath && dropPath.length !== this.blocks.length)
      throw new ArgumentError(`dropPath: ${dropPath.length} entries for ${this.blocks.length} blocks`);
    if (checkpoint && !(g instanceof Tape)) throw new ArgumentError('checkpoint: it needs a tape');
    const { ops } = g;
    return g.scope(() => {
      const cond = onDevice ? this.conditionOf(g, onDevice, tap) : this.condition(g, labels as Int32Array, tap);
      let h = ops.binary(cond.sos, this.start, { fn: 'add' });
      if (rest > 0) {
        const words = x!.shape[1] === rest ? x! : ops.slice(x!, { axis: 1, start: 0, size: rest });
        h = replace(h, ops.concat(h, this.wordEmbed.forward(ops, words), { axis: 1 }));
      }
      h = replace(h, ops.binary(h, ops.slice(this.lvlPos, { axis: 1, start: 0, size: end }), { fn: 'add' }));
      tap?.('x_embed', h);
      const visible = this.visible(g, end);
      for (const [i, block] of this.blocks.entries()) {
        const kept = dropPath?.[i];
        const mod = kept ? ops.binary(cond.mods[i]!, kept, { fn: 'mul' }) : cond.mods[i]!;
        const run = (part: Graph, [input, rows, seen]: readonly Tensor[]) => block.forward(part.ops, input!, rows!, { visible: seen });
        const inputs = [h, mod, visible];
        h = replace(h, checkpoint ? (g as Tape).checkpoint(inputs, run) : run(g, inputs));
        tap?.(`block${i}`, h);
      }
      return this.logits(g, h, cond, tap);
    });
  }

  private checkInput(x: Tensor | null, batch: number, rest: number): void {
    const shape = x?.shape ?? [];
    if (shape.length !== 3 || shape[0] !== batch || shape[1]! < rest || shape[2] !== this.config.zChannels)
      throw new ShapeError(`[forward] the input is [${shape}], accepted is [${batch}, ${rest} or more, ${this.config.zChannels}]`);
  }

  private positions(g: Graph, from: number, to: number): Tensor {
    const start = this.beginEnds[from]![0];
    return g.ops.slice(this.lvlPos, { axis: 1, start, size: this.beginEnds[to - 1]![1] - start });
  }

  /** Block-causal by scale: token i sees all tokens up to the end of its own scale. */
  private visible(g: Graph, end: number): Tensor {
    const counts = new Int32Array(end);
    for (const [from, to] of this.beginEnds) counts.fill(to, Math.min(from, end), Math.min(to, end));
    return g.tensor(counts, [end]);
  }

  private levels(): Int32Array {
    const levels = new Int32Array(this.length);
    for (const [level, [from, to]] of this.beginEnds.entries()) levels.fill(level, from, to);
    return levels;
  }

  private mask(): Float32Array {
    const mask = new Float32Array(this.length * this.length).fill(Number.NEGATIVE_INFINITY);
    for (const [from, to] of this.beginEnds) for (let row = from; row < to; row++) mask.fill(0, row * this.length, row * this.length + to);
    return mask;
  }
}
