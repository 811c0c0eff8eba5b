// cfg_mix, truncate_logits, multinomial, sample_cfg (all four fused) and gumbel_softmax; nothing is read back between the scales.
// Floor: bytes. cfg_mix 12 per entry; sample_cfg reads 8 per entry (both halves) and writes 4 per row: 256 x 4096 logits are 8.4 MB, 3 us
// at 3 TB/s, a block per row. Reference: VAR, sample_with_top_k_top_p_ and gumbel_softmax_with_rng; design of the cuts:
// kernels/sampling.cuh.
#include "cuda/common/launch.h"
#include "cuda/common/shared.h"
#include "cuda/kernels/sampling.cuh"

namespace ns::cuda {

namespace {

struct Rows {
  int64_t rows;
  int64_t l;
  int V;
};

struct SampleCall {
  const float* logits;  // the second half follows after rows * V
  const float* t;
  const int32_t* topK;
  const float* topP;
  const int32_t* seed;
  int32_t* idx;
  int32_t scale;
  Rows shape;
  float* spill;  // [gridDim.x][V] where a row does not fit into shared memory
  DeviceError* error;
  int32_t op;
};

// Products rounded one by one, as the reference does it.
__device__ inline float mixed(float cond, float uncond, float t) {
  return __fsub_rn(__fmul_rn(static_cast<float>(1.0 + static_cast<double>(t)), cond), __fmul_rn(t, uncond));
}

__global__ void mixKernel(const float* logits, const float* t, float* y, int64_t n, int64_t perImage) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    y[i] = mixed(logits[i], logits[i + n], t[i / perImage]);
  }
}

__global__ void __launch_bounds__(kSampleThreads) sampleKernel(SampleCall c) {
  NS_SHARED(float, own);
  __shared__ SampleShared s;
  const int V = c.shape.V;
  float* row = c.spill ? c.spill + static_cast<int64_t>(blockIdx.x) * V : own;
  for (int64_t r = blockIdx.x; r < c.shape.rows; r += gridDim.x) {
    const int64_t image = r / c.shape.l;
    const float* cond = c.logits + r * V;
    const float* uncond = cond + c.shape.rows * V;
    for (int i = static_cast<int>(threadIdx.x); i < V; i += kSampleThreads) row[i] = mixed(cond[i], uncond[i], c.t[image]);
    __syncthreads();
    const RowFacts facts = rowFacts(row, V);
    int found = -1;
    if (!facts.bad && facts.finite > 0) {
      const SampleCut cut = truncation(row, V, c.topK[image], c.topP[image], facts, s);
      const auto weight = [&](int i) { return kept(row[i], i, cut) ? static_cast<double>(expf(row[i] - facts.most)) : 0.0; };
      found = drawRow(V, weight, uniformOf(c.seed + image * 3, r % c.shape.l, c.scale), s);
    }
    if (threadIdx.x == 0) {
      if (found < 0) raise(c.error, c.op, NS_INVALID, r, 0);
      c.idx[r] = found < 0 ? 0 : found;
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kSampleThreads)
    truncateKernel(const float* logits, const int32_t* topK, const float* topP, float* y, Rows shape, DeviceError* error, int32_t op) {
  __shared__ SampleShared s;
  const int V = shape.V;
  for (int64_t r = blockIdx.x; r < shape.rows; r += gridDim.x) {
    const float* row = logits + r * V;
    const RowFacts facts = rowFacts(row, V);
    SampleCut cut = {0, 0};
    if (facts.bad) {
      if (threadIdx.x == 0) raise(error, op, NS_INVALID, r, 0);
    } else {
      cut = truncation(row, V, topK[r / shape.l], topP[r / shape.l], facts, s);
    }
    for (int i = static_cast<int>(threadIdx.x); i < V; i += kSampleThreads) {
      y[r * V + i] = facts.bad || kept(row[i], i, cut) ? row[i] : -INFINITY;
    }
  }
}

__global__ void __launch_bounds__(kSampleThreads)
    drawKernel(const float* probs, const int32_t* seed, int32_t* idx, Rows shape, int32_t scale, DeviceError* error, int32_t op) {
  __shared__ SampleShared s;
  for (int64_t r = blockIdx.x; r < shape.rows; r += gridDim.x) {
    const float* row = probs + r * shape.V;
    const auto weight = [&](int i) { return static_cast<double>(row[i]); };
    const int found = drawRow(shape.V, weight, uniformOf(seed + r / shape.l * 3, r % shape.l, scale), s);
    if (threadIdx.x == 0) {
      if (found < 0) raise(error, op, NS_INVALID, r, 0);
      idx[r] = found < 0 ? 0 : found;
    }
    __syncthreads();
  }
}

struct GumbelCall {
  const float* logits;
  const float* noise;
  const int32_t* seed;
  float* y;
  float mul, tau;
  int32_t scale;
  Rows shape;
  DeviceError* error;
  int32_t op;
};

// Noise of the four entries of block `i`, as the CPU backend rounds it.
__device__ inline void gumbelBlock(const GumbelCall& c, int64_t r, int i, float (&g)[4]) {
  const int32_t* seed = c.seed + r / c.shape.l * 3;
  const Philox counter = {{static_cast<uint32_t>(r % c.shape.l), static_cast<uint32_t>(c.scale), static_cast<uint32_t>(seed[2]),
                           kPhiloxGumbel + static_cast<uint32_t>(i)}};
  const Philox words = philox(static_cast<uint32_t>(seed[0]), static_cast<uint32_t>(seed[1]), counter);
  for (int j = 0; j < 4; j++) g[j] = static_cast<float>(-log(-log(philoxUniform(words.w[j]))));
}

__global__ void __launch_bounds__(kSampleThreads) gumbelKernel(GumbelCall c) {
  const int V = c.shape.V, quads = (V + 3) / 4;
  for (int64_t r = blockIdx.x; r < c.shape.rows; r += gridDim.x) {
    const float* x = c.logits + r * V;
    float* y = c.y + r * V;
    float most = -INFINITY;
    for (int q = static_cast<int>(threadIdx.x); q < quads; q += kSampleThreads) {
      float g[4];
      if (!c.noise) gumbelBlock(c, r, q, g);
      for (int j = 0; j < 4 && q * 4 + j < V; j++) {
        const int i = q * 4 + j;
        const float noise = c.noise ? c.noise[r * V + i] : g[j];
        y[i] = __fdiv_rn(__fadd_rn(__fmul_rn(x[i], c.mul), noise), c.tau);
        most = Max()(most, y[i]);
      }
    }
    most = blockMax(most);
    float sum = 0;
    for (int q = static_cast<int>(threadIdx.x); q < quads; q += kSampleThreads) {
      for (int i = q * 4; i < min(q * 4 + 4, V); i++) sum += y[i] = expf(y[i] - most);
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0 && !(sum > 0 && sum < INFINITY)) raise(c.error, c.op, NS_INVALID, r, 0);
    for (int q = static_cast<int>(threadIdx.x); q < quads; q += kSampleThreads) {
      for (int i = q * 4; i < min(q * 4 + 4, V); i++) y[i] = __fdiv_rn(y[i], sum);
    }
  }
}

Rows rowsOf(const NsTensor& t, int64_t images) { return {images * t.dims[1], t.dims[1], static_cast<int>(t.dims[2])}; }

Shape perRow(const Context& ctx, const Rows& rows, size_t shared = 0) {
  return {gridFor(ctx, rows.rows, 16), dim3(kSampleThreads), shared};
}

Status checkRow(const char* op, const NsTensor& t) {
  if (t.dims[2] >= 1 && t.dims[2] <= (1 << 24)) return Status();
  return failure(NS_UNSUPPORTED, "[%s] a row has %lld entries, accepted are 1 to 2^24", op, (long long)t.dims[2]);
}

}  // namespace

namespace ops {

Status cfg_mix(const Context& ctx, const NsCall& call, const op::cfg_mix::Params&) {
  const int64_t n = count(call.out[0]);
  if (n == 0) return Status();
  const int64_t perImage = call.out[0].dims[1] * call.out[0].dims[2];
  return launch(ctx, &mixKernel, {gridFor(ctx, divUp(n, 256)), dim3(256)}, in<float>(call, 0), in<float>(call, 1), out<float>(call, 0), n,
                perImage);
}

Status truncate_logits(const Context& ctx, const NsCall& call, const op::truncate_logits::Params&) {
  const NsTensor& x = call.in[0];
  if (count(x) == 0) return Status();
  Status status = checkRow("truncate_logits", x);
  if (!status.ok()) return status;
  const Rows rows = rowsOf(x, x.dims[0]);
  return launch(ctx, &truncateKernel, perRow(ctx, rows), in<float>(call, 0), in<int32_t>(call, 1), in<float>(call, 2), out<float>(call, 0),
                rows, ctx.error, ctx.op);
}

Status multinomial(const Context& ctx, const NsCall& call, const op::multinomial::Params& p) {
  const NsTensor& x = call.in[0];
  if (x.dims[0] * x.dims[1] == 0) return Status();
  Status status = checkRow("multinomial", x);
  if (!status.ok()) return status;
  const Rows rows = rowsOf(x, x.dims[0]);
  return launch(ctx, &drawKernel, perRow(ctx, rows), in<float>(call, 0), in<int32_t>(call, 1), out<int32_t>(call, 0), rows, p.scale,
                ctx.error, ctx.op);
}

Status sample_cfg(const Context& ctx, const NsCall& call, const op::sample_cfg::Params& p) {
  const NsTensor& x = call.in[0];
  const int64_t images = x.dims[0] / 2;
  if (images * x.dims[1] == 0) return Status();
  Status status = checkRow("sample_cfg", x);
  if (!status.ok()) return status;
  const Rows rows = rowsOf(x, images);
  size_t shared = static_cast<size_t>(rows.V) * sizeof(float);
  const bool fits = shared + sizeof(SampleShared) + 1024 <= ctx.sharedPerBlock;
  Shape shape = perRow(ctx, rows, fits ? shared : 0);
  float* spill = fits ? nullptr : ctx.scratch<float>(0, static_cast<size_t>(shape.grid.x) * static_cast<size_t>(rows.V));
  const SampleCall c = {in<float>(call, 0),
                        in<float>(call, 1),
                        in<int32_t>(call, 2),
                        in<float>(call, 3),
                        in<int32_t>(call, 4),
                        out<int32_t>(call, 0),
                        p.scale,
                        rows,
                        spill,
                        ctx.error,
                        ctx.op};
  return launch(ctx, &sampleKernel, shape, c);
}

Status gumbel_softmax(const Context& ctx, const NsCall& call, const op::gumbel_softmax::Params& p) {
  const NsTensor& x = call.in[0];
  const NsTensor* noise = input(call, 1);
  const NsTensor* seeds = input(call, 2);
  if (!noise && !seeds) return failure(NS_INVALID, "[gumbel_softmax] needs gumbel or seed");
  if (!(p.tau > 0)) return failure(NS_INVALID, "[gumbel_softmax] tau is %g, accepted: above 0", static_cast<double>(p.tau));
  if (count(x) == 0) return Status();
  Status status = checkRow("gumbel_softmax", x);
  if (!status.ok()) return status;
  const Rows rows = rowsOf(x, x.dims[0]);
  const GumbelCall c = {in<float>(call, 0),
                        noise ? static_cast<const float*>(noise->data) : nullptr,
                        seeds ? static_cast<const int32_t*>(seeds->data) : nullptr,
                        out<float>(call, 0),
                        p.mul,
                        p.tau,
                        p.scale,
                        rows,
                        ctx.error,
                        ctx.op};
  return launch(ctx, &gumbelKernel, perRow(ctx, rows), c);
}

}  // namespace ops
}  // namespace ns::cuda
