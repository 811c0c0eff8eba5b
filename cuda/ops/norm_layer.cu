// layer_norm with AdaLN modulation, and its gradient.
// Floor: bytes: x and y once, for the gradient x, dy and dx; a row lies in registers between its passes (rows.h).
// Statistics in f32 around the mean, with what rounding left out of the mean taken out again.
// The sums of dMod over rows run over runs of rows that depend on the shape alone, and are joined in f64 in their order (columns.h).
// Reference: torch.nn.functional.layer_norm and its autograd; Peebles and Xie, AdaLN-zero.
#include <algorithm>
#include <cmath>

#include "cuda/ops/columns.h"
#include "cuda/ops/rows.h"

namespace ns::cuda {
namespace {

// The two rows of mod that modulate a row of x; data null where there is none.
struct Modulation {
  Floats scale, shift;
  int64_t perImage;  // rows of x that share a row of mod
  int64_t stride;    // from one to the next
};

template <class P>
Modulation modulation(const NsTensor* m, const P& p, int64_t rows, int64_t l) {
  if (!m) return {{nullptr, DType::f32, false}, {nullptr, DType::f32, false}, 1, 0};
  const int64_t C = m->dims[2];
  float* data = static_cast<float*>(m->data);
  return {floats(data + p.scaleAt * C, DType::f32, C), floats(data + p.shiftAt * C, DType::f32, C), m->dims[0] == 1 ? rows : l,
          m->dims[1] * C};
}

template <class P>
Status checkModulation(const char* op, const char* name, const NsTensor* m, const P& p, int64_t B, int64_t C) {
  if (!m) return Status();
  const int64_t G = m->dims[1];
  const bool rows = p.scaleAt >= 0 && p.scaleAt < G && p.shiftAt >= 0 && p.shiftAt < G;
  if (rows && m->dims[2] == C && (m->dims[0] == B || m->dims[0] == 1)) return Status();
  return failure(NS_INVALID, "[%s] %s is [%lld,%lld,%lld], x has B %lld and C %lld, scaleAt %d, shiftAt %d", op, name,
                 static_cast<long long>(m->dims[0]), static_cast<long long>(G), static_cast<long long>(m->dims[2]),
                 static_cast<long long>(B), static_cast<long long>(C), p.scaleAt, p.shiftAt);
}

__global__ void __launch_bounds__(kMostThreads) layerNormRows(Rows r, Floats x, Modulation mod, Floats y, float eps) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  const float n = static_cast<float>(r.width);
  Part<> part(r, x, row, 0.0f);
  const float mean = rowSum(part.sum([](float v) { return v; }), r.perWarp) / n;
  float around[2] = {0.0f, 0.0f};
  part.each([&](const float(&v)[kQuad], int64_t c) {
    for (int e = 0; e < kQuad; e++) {
      const float d = c + e < r.width ? v[e] - mean : 0.0f;
      around[0] += d;
      around[1] = fmaf(d, d, around[1]);
    }
  });
  rowSums<2>(around, r.perWarp);
  const float rest = around[0] / n, variance = around[1] / n - rest * rest;
  const float rstd = 1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + eps);
  const int64_t own = row / mod.perImage * mod.stride;
  part.each([&](const float(&v)[kQuad], int64_t c) {
    float w[kQuad];
    for (int e = 0; e < kQuad; e++) w[e] = (v[e] - mean - rest) * rstd;
    if (mod.scale.data) {
      float a[kQuad], b[kQuad];
      readQuad(mod.scale, own + c, r.width - c, 0.0f, a);
      readQuad(mod.shift, own + c, r.width - c, 0.0f, b);
      for (int e = 0; e < kQuad; e++) w[e] = fmaf(w[e], a[e] + 1.0f, b[e]);
    }
    writeQuad(y, part.row + c, r.width - c, w);
  });
}

constexpr int kHeldGrad = 2, kMostGrad = 512;

// Rows in runs of `run` within an image; part [images][runs][2][width] gets the sums of dy * xh and of dy over each, or is null.
struct Runs {
  int64_t images, perImage, run, runs;
  float* part;
};

// The sums that one thread keeps for its columns.
struct Columns {
  float scale[kHeldGrad][kQuad], shift[kHeldGrad][kQuad];
};

// One row of the gradient; adds to `sums`, and to `tail` ([2][width]) for columns that are not held.
__device__ inline void layerNormGradRow(const Rows& r, const Floats& x, const Floats& dy, const Floats& scale, int64_t own,
                                        const Floats& dx, float eps, int64_t row, Columns& sums, float* tail) {
  const float n = static_cast<float>(r.width);
  Part<kHeldGrad> p(r, x, row, 0.0f), d(r, dy, row, 0.0f);
  const auto both = [&](auto body) {
#pragma unroll
    for (int k = 0; k < kHeldGrad; k++) body(p.held[k], d.held[k], p.first + k * p.step, k);
    for (int64_t c = p.first + kHeldGrad * p.step; c < r.width; c += p.step) {
      float a[kQuad], b[kQuad];
      p.other(x, c, a);
      p.other(dy, c, b);
      body(a, b, c, kHeldGrad);
    }
  };
  const auto factors = [&](int64_t c, float(&f)[kQuad]) {
    for (int e = 0; e < kQuad; e++) f[e] = 0.0f;
    if (scale.data && c < r.width) readQuad(scale, own + c, r.width - c, 0.0f, f);
    for (int e = 0; e < kQuad; e++) f[e] += 1.0f;
  };
  const float mean = rowSum(p.sum([](float v) { return v; }), r.perWarp) / n;
  float t[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  both([&](const float(&a)[kQuad], const float(&b)[kQuad], int64_t c, int) {
    float f[kQuad];
    factors(c, f);
    for (int e = 0; e < kQuad; e++) {
      const float v = c + e < r.width ? a[e] - mean : 0.0f, g = b[e] * f[e];
      t[0] += v;
      t[1] = fmaf(v, v, t[1]);
      t[2] += g;
      t[3] = fmaf(v, g, t[3]);
    }
  });
  rowSums<4>(t, r.perWarp);
  // The rounding of the mean is taken out of the sums taken around it.
  const float rest = t[0] / n, variance = t[1] / n - rest * rest, rstd = 1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + eps);
  const float level = t[2] / n, slope = (t[3] / n - rest * level) * rstd;
  both([&](const float(&a)[kQuad], const float(&b)[kQuad], int64_t c, int k) {
    float f[kQuad], w[kQuad];
    factors(c, f);
    for (int e = 0; e < kQuad; e++) {
      const float xh = (a[e] - mean - rest) * rstd;
      w[e] = rstd * fmaf(-xh, slope, b[e] * f[e] - level);
      if (k < kHeldGrad) {
        sums.scale[k % kHeldGrad][e] = fmaf(b[e], xh, sums.scale[k % kHeldGrad][e]);
        sums.shift[k % kHeldGrad][e] += b[e];
      } else if (tail && c + e < r.width) {
        tail[c + e] = fmaf(b[e], xh, tail[c + e]);
        tail[r.width + c + e] += b[e];
      }
    }
    writeQuad(dx, p.row + c, r.width - c, w);
  });
}

__global__ void __launch_bounds__(kMostGrad) layerNormGradRuns(Rows r, Runs g, Floats x, Floats dy, Modulation mod, Floats dx, float eps) {
  const int64_t image = blockIdx.x / g.runs, from = blockIdx.x % g.runs * g.run;
  const int64_t to = from + g.run < g.perImage ? from + g.run : g.perImage;
  float* part = g.part ? g.part + blockIdx.x * 2 * r.width : nullptr;
  const int64_t first = threadIdx.x * kQuad, step = int64_t{blockDim.x} * kQuad;
  for (int64_t c = first + kHeldGrad * step; part && c < r.width; c += step) {
    for (int e = 0; e < kQuad && c + e < r.width; e++) part[c + e] = part[r.width + c + e] = 0.0f;
  }
  Columns sums{};
  for (int64_t i = from; i < to; i++) {
    const int64_t row = image * g.perImage + i;
    layerNormGradRow(r, x, dy, mod.scale, row / mod.perImage * mod.stride, dx, eps, row, sums, part);
  }
  if (!part) return;
#pragma unroll
  for (int k = 0; k < kHeldGrad; k++) {
    const int64_t c = first + k * step;
    for (int e = 0; e < kQuad; e++) {
      if (c + e >= r.width) continue;
      part[c + e] = sums.scale[k][e];
      part[r.width + c + e] = sums.shift[k][e];
    }
  }
}

}  // namespace

namespace ops {

Status layer_norm(const Context& ctx, const NsCall& call, const op::layer_norm::Params& p) {
  namespace I = op::layer_norm::in;
  const NsTensor& x = call.in[I::x];
  const NsTensor* mod = input(call, I::mod);
  if (Status s = checkModulation("layer_norm", "mod", mod, p, x.dims[0], x.dims[2]); !s.ok()) return s;
  if (count(x) == 0) return Status();
  const Rows r = planRows(x);
  return launch(ctx, layerNormRows, r.shape(), r, floats(x, r.width), modulation(mod, p, r.rows, x.dims[1]), floats(call.out[0], r.width),
                p.eps);
}

Status layer_norm_grad(const Context& ctx, const NsCall& call, const op::layer_norm_grad::Params& p) {
  namespace I = op::layer_norm_grad::in;
  const NsTensor& x = call.in[I::x];
  const int64_t B = x.dims[0], l = x.dims[1], C = x.dims[2];
  const NsTensor *mod = input(call, I::mod), *dMod = input(call, I::dMod);
  if (Status s = checkModulation("layer_norm_grad", "mod", mod, p, B, C); !s.ok()) return s;
  if (Status s = checkModulation("layer_norm_grad", "dMod", dMod, p, B, C); !s.ok()) return s;
  if (count(x) == 0) return Status();
  Rows r = planRows(x, kHeldGrad, kMostGrad);
  r.perWarp = false;
  Runs g;
  g.images = dMod && dMod->dims[0] > 1 ? B : 1;
  g.perImage = B * l / g.images;
  g.run = dMod ? std::min<int64_t>(std::max<int64_t>(divUp(g.perImage, 64), 4), 32) : 1;
  g.runs = divUp(g.perImage, g.run);
  g.part = dMod ? ctx.scratch<float>(0, static_cast<size_t>(g.images * g.runs * 2 * C)) : nullptr;
  const Shape shape{dim3(static_cast<unsigned>(g.images * g.runs)), dim3(static_cast<unsigned>(r.threads))};
  Status s = launch(ctx, layerNormGradRuns, shape, r, g, floats(x, C), floats(call.in[I::dy], C), modulation(mod, p, r.rows, l),
                    floats(call.out[0], C), p.eps);
  if (!s.ok() || !dMod) return s;
  float* to = static_cast<float*>(dMod->data);
  return launchJoin(ctx, g.part, g.images, g.runs, C, {nullptr, to + p.scaleAt * C, to + p.shiftAt * C, dMod->dims[1] * C});
}

}  // namespace ops
}  // namespace ns::cuda
