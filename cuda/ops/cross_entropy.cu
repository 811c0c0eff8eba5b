// cross_entropy with label smoothing and its gradient, one row of V logits at a time; no probability is stored.
// Floor: bytes, one read of the logits, and one write for the gradient: a row lies in registers between its maximum, its sums and the
// result (rows.h); what does not fit is read again, mostly from L2.
// A target outside [0, V) is an error (told later) and leaves NaN in its row.
// Reference: torch.nn.functional.cross_entropy(reduction='none', label_smoothing).
#include <cmath>

#include "cuda/ops/rows.h"

namespace ns::cuda {
namespace {

// Maximum of a row, and around it the sums of exponentials and of differences.
struct Entropy {
  float top, exponentials, plain;
};

__device__ inline Entropy entropyOf(const Rows& r, Part<>& part) {
  Entropy s{-INFINITY, 0.0f, 0.0f};
  part.each([&](const float(&v)[kQuad], int64_t c) {
    for (int e = 0; e < kQuad; e++) {
      if (c + e < r.width) s.top = Max()(v[e], s.top);
    }
  });
  s.top = rowMax(s.top, r.perWarp);
  float sums[2] = {0.0f, 0.0f};
  part.each([&](const float(&v)[kQuad], int64_t c) {
    for (int e = 0; e < kQuad; e++) {
      if (c + e >= r.width) continue;
      sums[0] += expf(v[e] - s.top);
      sums[1] += v[e] - s.top;
    }
  });
  rowSums<2>(sums, r.perWarp);
  s.exponentials = sums[0];
  s.plain = sums[1];
  return s;
}

// The target of a row, or -1 after telling that it is none.
__device__ inline int targetOf(const int32_t* target, int64_t row, int64_t width, DeviceError* error, int32_t op) {
  const int t = target[row];
  if (t >= 0 && t < width) return t;
  raise(error, op, NS_INDEX, row, t);
  return -1;
}

__device__ inline bool leads(const Rows& r) { return static_cast<int>(threadIdx.x) % (r.perWarp ? kWarp : 1024) == 0; }

__global__ void __launch_bounds__(kMostThreads)
    entropyRows(Rows r, Floats x, const int32_t* target, float smooth, float* loss, DeviceError* error, int32_t op) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  Part<> part(r, x, row, 0.0f);
  const Entropy s = entropyOf(r, part);
  if (!leads(r)) return;
  const int t = targetOf(target, row, r.width, error, op);
  if (t < 0) {
    loss[row] = NAN;
    return;
  }
  double l = log(static_cast<double>(s.exponentials));
  // Without smoothing a logit of -inf off the target is no loss.
  if (smooth < 1.0f) l -= (1.0 - static_cast<double>(smooth)) * (static_cast<double>(loadOne(x, part.row + t)) - s.top);
  if (smooth > 0.0f) l -= static_cast<double>(smooth) * s.plain / static_cast<double>(r.width);
  loss[row] = static_cast<float>(l);
}

__global__ void __launch_bounds__(kMostThreads)
    entropyGradRows(Rows r, Floats x, const int32_t* target, const float* dLoss, float smooth, Floats dx, DeviceError* error, int32_t op) {
  const int64_t row = rowOf(r);
  if (row >= r.rows) return;
  Part<> part(r, x, row, 0.0f);
  const Entropy s = entropyOf(r, part);
  int t = target[row];
  if (t < 0 || t >= r.width) {
    if (leads(r)) targetOf(target, row, r.width, error, op);
    t = -1;
  }
  const float d = t < 0 ? NAN : dLoss[row];
  const float factor = d / s.exponentials, even = d * smooth / static_cast<float>(r.width), hit = d * (1.0f - smooth);
  part.each([&](const float(&v)[kQuad], int64_t c) {
    float w[kQuad];
    for (int e = 0; e < kQuad; e++) {
      w[e] = fmaf(expf(v[e] - s.top), factor, -even);
      if (c + e == t) w[e] -= hit;
    }
    writeQuad(dx, part.row + c, r.width - c, w);
  });
}

}  // namespace

namespace ops {

Status cross_entropy(const Context& ctx, const NsCall& call, const op::cross_entropy::Params& p) {
  namespace I = op::cross_entropy::in;
  const Rows r = planRows(call.in[I::logits]);
  return launch(ctx, entropyRows, r.shape(), r, floats(call.in[I::logits], r.width), in<int32_t>(call, I::target), p.labelSmooth,
                out<float>(call, 0), ctx.error, ctx.op);
}

Status cross_entropy_grad(const Context& ctx, const NsCall& call, const op::cross_entropy_grad::Params& p) {
  namespace I = op::cross_entropy_grad::in;
  const Rows r = planRows(call.in[I::logits]);
  return launch(ctx, entropyGradRows, r.shape(), r, floats(call.in[I::logits], r.width), in<int32_t>(call, I::target),
                in<float>(call, I::dLoss), p.labelSmooth, floats(call.out[0], r.width), ctx.error, ctx.op);
}

}  // namespace ops
}  // namespace ns::cuda
