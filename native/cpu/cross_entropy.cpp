// cross_entropy with label smoothing and its gradient, one row of V logits at a time, no probability kept.
// Floor: memory, 4 bytes per logit forward and 8 backward (a row stays in cache between its maximum, its exponentials and the result);
// about 0.5 ns per logit and core for the exponential.
// Layout: rows of V contiguous logits, one target and one loss per row. Reference: torch.nn.functional.cross_entropy(reduction='none').
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/cross_entropy.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>
#include <cmath>

#include "native/cpu/context.h"
#include "native/cpu/indices.h"
#include "native/cpu/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// Sums of exp(x - top) and of x - top in four chains each; with kStore the exponentials go to y.
template <bool kStore>
HWY_INLINE void EntropySums(const float* x, float* y, int64_t n, float top, float* exponentials, float* plain) {
  const SoftD d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const SoftV max = hn::Set(d, top);
  SoftV e0 = hn::Zero(d), e1 = hn::Zero(d), e2 = hn::Zero(d), e3 = hn::Zero(d);
  SoftV p0 = hn::Zero(d), p1 = hn::Zero(d), p2 = hn::Zero(d), p3 = hn::Zero(d);
  const auto step = [&](int64_t i, SoftV& e, SoftV& p) {
    const SoftV v = hn::Sub(hn::LoadU(d, x + i), max), w = cpu::HWY_NAMESPACE::ExpNonPositive(d, v);
    if constexpr (kStore) hn::StoreU(w, d, y + i);
    e = hn::Add(e, w);
    p = hn::Add(p, v);
  };
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    step(i, e0, p0);
    step(i + N, e1, p1);
    step(i + 2 * N, e2, p2);
    step(i + 3 * N, e3, p3);
  }
  for (; i + N <= n; i += N) step(i, e0, p0);
  if (i < n) {
    const size_t r = static_cast<size_t>(n - i);
    const SoftV v = hn::Sub(LoadPart(d, x + i, r, 0.0f), max), w = cpu::HWY_NAMESPACE::ExpNonPositive(d, v);
    if constexpr (kStore) StorePart(d, w, y + i, r);
    const auto real = hn::FirstN(d, r);
    e1 = hn::Add(e1, hn::IfThenElseZero(real, w));
    p1 = hn::Add(p1, hn::IfThenElseZero(real, v));
  }
  *exponentials = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(e0, e1), hn::Add(e2, e3))));
  *plain = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(p0, p1), hn::Add(p2, p3))));
}

void EntropyRows(const float* x, const int32_t* target, int64_t rows, int64_t n, float smooth, float* loss) {
  for (int64_t r = 0; r < rows; r++, x += n) {
    const float top = RowMax(x, n, 1.0f);
    float exponentials, plain;
    EntropySums<false>(x, nullptr, n, top, &exponentials, &plain);
    double l = std::log(static_cast<double>(exponentials));
    // Without smoothing a logit of -inf off the target is no loss.
    if (smooth < 1.0f) l -= (1.0 - static_cast<double>(smooth)) * (static_cast<double>(x[target[r]]) - top);
    if (smooth > 0.0f) l -= static_cast<double>(smooth) * plain / static_cast<double>(n);
    loss[r] = static_cast<float>(l);
  }
}

void EntropyGradRows(const float* x, const int32_t* target, const float* dLoss, int64_t rows, int64_t n, float smooth, float* dx) {
  const SoftD d;
  for (int64_t r = 0; r < rows; r++, x += n, dx += n) {
    float total, plain;
    EntropySums<true>(x, dx, n, RowMax(x, n, 1.0f), &total, &plain);
    const SoftV mul = hn::Set(d, dLoss[r] / total);
    const SoftV even = hn::Set(d, dLoss[r] * smooth / static_cast<float>(n));
    Map(d, dx, dx, n, [&](SoftV v) { return hn::MulSub(v, mul, even); });
    dx[target[r]] -= dLoss[r] * (1.0f - smooth);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(EntropyRows);
HWY_EXPORT(EntropyGradRows);

namespace kernels {

Status cross_entropy(Context& ctx, const NsCall& call, const op::cross_entropy::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t n = t.dims[t.ndim - 1], rows = count(call.in[1]);
  const int32_t* target = in<int32_t>(call, 1);
  if (Status s = checkIndices("cross_entropy", "target", target, rows, n); !s.ok()) return s;
  const float* x = in<float>(call, 0);
  float* loss = out<float>(call, 0);
  const auto body = HWY_DYNAMIC_DISPATCH(EntropyRows);
  ctx.pool.parallelFor(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(n, 1)),
                       [&](int64_t b, int64_t e, int) { body(x + b * n, target + b, e - b, n, p.labelSmooth, loss + b); });
  return {};
}

Status cross_entropy_grad(Context& ctx, const NsCall& call, const op::cross_entropy_grad::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t n = t.dims[t.ndim - 1], rows = count(call.in[1]);
  const int32_t* target = in<int32_t>(call, 1);
  if (Status s = checkIndices("cross_entropy_grad", "target", target, rows, n); !s.ok()) return s;
  const float* x = in<float>(call, 0);
  const float* dLoss = in<float>(call, 2);
  float* dx = out<float>(call, 0);
  const auto body = HWY_DYNAMIC_DISPATCH(EntropyGradRows);
  ctx.pool.parallelFor(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(n, 1)),
                       [&](int64_t b, int64_t e, int) { body(x + b * n, target + b, dLoss + b, e - b, n, p.labelSmooth, dx + b * n); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
