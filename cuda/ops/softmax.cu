// softmax, l2_normalize and their gradients: rows of the last dim.
// Floor: bytes, 8 per element, 12 for the gradients. A row lies in registers between its passes (rows.h).
// Exponentials are expf (2 ulp) and sums f32 in a fixed order; a row with NaN or +inf, or of -inf only, becomes NaN by the arithmetic.
// Reference: torch.softmax, torch.nn.functional.normalize.
#include <cmath>

#include "cuda/ops/rows.h"

namespace ns::cuda {
namespace {

constexpr int kHeldGrad = 2;  // quads of y and of dy

__global__ void __launch_bounds__(kMostThreads) softmaxRows(Rows r, Floats x, Floats y, float scale) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  Part<> part(r, x, row, -INFINITY);
  float top = -INFINITY;
  part.each([&](const float(&v)[kQuad], int64_t c) {
    for (int e = 0; e < kQuad; e++) {
      if (c + e < r.width) top = Max()(v[e] * scale, top);
    }
  });
  top = rowMax(top, r.perWarp);
  float sum = 0;
  part.each([&](float(&v)[kQuad], int64_t c) {
    for (int e = 0; e < kQuad; e++) {
      v[e] = c + e < r.width ? expf(v[e] * scale - top) : 0.0f;
      sum += v[e];
    }
  });
  const float inverse = 1.0f / rowSum(sum, r.perWarp);
  const int64_t tail = part.first + kHeld * part.step;  // from here on the values were not kept
  part.each([&](const float(&v)[kQuad], int64_t c) {
    float w[kQuad];
    for (int e = 0; e < kQuad; e++) w[e] = (c < tail ? v[e] : expf(v[e] * scale - top)) * inverse;
    writeQuad(y, part.row + c, r.width - c, w);
  });
}

__global__ void __launch_bounds__(kMostThreads) softmaxGradRows(Rows r, Floats y, Floats dy, Floats dx, float scale) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  Part<kHeldGrad> p(r, y, row, 0.0f), g(r, dy, row, 0.0f);
  float dot = 0;
  const auto both = [&](auto body) {
#pragma unroll
    for (int k = 0; k < kHeldGrad; k++) body(p.held[k], g.held[k], p.first + k * p.step);
    for (int64_t c = p.first + kHeldGrad * p.step; c < r.width; c += p.step) {
      float a[kQuad], b[kQuad];
      p.other(y, c, a);
      p.other(dy, c, b);
      body(a, b, c);
    }
  };
  both([&](const float(&a)[kQuad], const float(&b)[kQuad], int64_t) {
    for (int e = 0; e < kQuad; e++) dot = fmaf(a[e], b[e], dot);
  });
  dot = rowSum(dot, r.perWarp);
  both([&](const float(&a)[kQuad], const float(&b)[kQuad], int64_t c) {
    float w[kQuad];
    for (int e = 0; e < kQuad; e++) w[e] = scale * a[e] * (b[e] - dot);
    writeQuad(dx, p.row + c, r.width - c, w);
  });
}

__global__ void __launch_bounds__(kMostThreads) normalizeRows(Rows r, Floats x, Floats y, float eps) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  Part<> part(r, x, row, 0.0f);
  const float length = sqrtf(rowSum(part.sum([](float v) { return v * v; }), r.perWarp));
  const float norm = length > eps || length != length ? length : eps;
  part.each([&](const float(&v)[kQuad], int64_t c) {
    float w[kQuad];
    for (int e = 0; e < kQuad; e++) w[e] = v[e] / norm;
    writeQuad(y, part.row + c, r.width - c, w);
  });
}

// dx = (dy - u (u . dy)) / |x| with u = x / |x|; dy / eps where |x| <= eps.
__global__ void __launch_bounds__(kMostThreads) normalizeGradRows(Rows r, Floats x, Floats dy, Floats dx, float eps) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  Part<> part(r, x, row, 0.0f);
  float sums[2] = {0.0f, 0.0f};
  part.each([&](const float(&v)[kQuad], int64_t c) {
    float g[kQuad];
    part.other(dy, c, g);
    for (int e = 0; e < kQuad; e++) {
      sums[0] = fmaf(v[e], v[e], sums[0]);
      sums[1] = fmaf(v[e], g[e], sums[1]);
    }
  });
  rowSums<2>(sums, r.perWarp);
  const float length = sqrtf(sums[0]);
  const bool constant = length <= eps;
  const float norm = constant ? eps : length, along = constant ? 0.0f : sums[1] / length;
  part.each([&](const float(&v)[kQuad], int64_t c) {
    float g[kQuad], w[kQuad];
    part.other(dy, c, g);
    for (int e = 0; e < kQuad; e++) w[e] = (constant ? g[e] : fmaf(-(v[e] / norm), along, g[e])) / norm;
    writeQuad(dx, part.row + c, r.width - c, w);
  });
}

}  // namespace

namespace ops {

Status softmax(const Context& ctx, const NsCall& call, const op::softmax::Params& p) {
  const Rows r = planRows(call.in[0]);
  return launch(ctx, softmaxRows, r.shape(), r, floats(call.in[0], r.width), floats(call.out[0], r.width), p.scale);
}

Status softmax_grad(const Context& ctx, const NsCall& call, const op::softmax_grad::Params& p) {
  const Rows r = planRows(call.in[0], kHeldGrad);
  return launch(ctx, softmaxGradRows, r.shape(), r, floats(call.in[0], r.width), floats(call.in[1], r.width), floats(call.out[0], r.width),
                p.scale);
}

Status l2_normalize(const Context& ctx, const NsCall& call, const op::l2_normalize::Params& p) {
  const Rows r = planRows(call.in[0]);
  return launch(ctx, normalizeRows, r.shape(), r, floats(call.in[0], r.width), floats(call.out[0], r.width), p.eps);
}

Status l2_normalize_grad(const Context& ctx, const NsCall& call, const op::l2_normalize_grad::Params& p) {
  const Rows r = planRows(call.in[0]);
  return launch(ctx, normalizeGradRows, r.shape(), r, floats(call.in[0], r.width), floats(call.in[1], r.width),
                floats(call.out[0], r.width), p.eps);
}

}  // namespace ops
}  // namespace ns::cuda
