// pair_loss, pair_loss_grad: mean absolute or squared difference of two tensors.
// Floor: bound by memory: 8 bytes per element forward, 12 backward.
// Layout: contiguous. The sum runs in f64 over blocks of 16384 elements that are joined in order, for any number of threads.
// Reference: F.l1_loss and F.mse_loss with reduction 'mean'.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/pair_loss.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// Sum of |x - y| or (x - y)^2 over n values.
template <class F>
HWY_INLINE double PairSum(const float* x, const float* y, int64_t n, F f) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto term = [&](int64_t i) { return f(hn::Sub(hn::PromoteTo(d, hn::LoadU(df, x + i)), hn::PromoteTo(d, hn::LoadU(df, y + i)))); };
  auto s0 = hn::Zero(d), s1 = s0;
  int64_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    s0 = hn::Add(s0, term(i));
    s1 = hn::Add(s1, term(i + N));
  }
  for (; i + N <= n; i += N) s0 = hn::Add(s0, term(i));
  if (hn::MaxLanes(d) > 1 && i < n) {
    const size_t r = static_cast<size_t>(n - i);
    const auto u = hn::PromoteTo(d, LoadPart(df, x + i, r, 0.0f)), v = hn::PromoteTo(d, LoadPart(df, y + i, r, 0.0f));
    s0 = hn::Add(s0, f(hn::Sub(u, v)));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

double PairLossBlock(bool square, const float* x, const float* y, int64_t n) {
  using V = hn::Vec<hn::ScalableTag<double>>;
  if (square) return PairSum(x, y, n, [](V v) { return hn::Mul(v, v); });
  return PairSum(x, y, n, [](V v) { return hn::Abs(v); });
}

// dx = factor * sign(x - y) or 2 factor (x - y)
void PairGradRow(bool square, float factor, const float* x, const float* y, float* dx, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  const V zero = hn::Zero(d), f = hn::Set(d, square ? 2 * factor : factor);
  if (square) return Map2(d, x, y, dx, n, [&](V u, V v) { return hn::Mul(f, hn::Sub(u, v)); });
  Map2(d, x, y, dx, n, [&](V u, V v) {  // d - d is 0 or NaN where the difference is neither above nor below 0
    const V diff = hn::Sub(u, v);
    return hn::IfThenElse(hn::Gt(diff, zero), f, hn::IfThenElse(hn::Lt(diff, zero), hn::Neg(f), hn::Sub(diff, diff)));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(PairLossBlock);
HWY_EXPORT(PairGradRow);

namespace kernels {
namespace {
constexpr int64_t kBlock = 16384;
}

Status pair_loss(Context& ctx, const NsCall& call, const op::pair_loss::Params& p) {
  using In = op::pair_loss::in::Index;
  const float *x = in<float>(call, In::x), *y = in<float>(call, In::y);
  const int64_t n = count(call.in[In::x]), blocks = (n + kBlock - 1) / kBlock;
  const bool square = p.kind == op::pair_loss::Kind::l2;
  double* parts = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(blocks) * sizeof(double)));
  const auto block = HWY_DYNAMIC_DISPATCH(PairLossBlock);
  ctx.pool.parallelFor(blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; b++) {
      const int64_t at = b * kBlock;
      parts[b] = block(square, x + at, y + at, n - at < kBlock ? n - at : kBlock);
    }
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; b++) total += parts[b];
  *out<float>(call, 0) = static_cast<float>(total / static_cast<double>(n));
  return {};
}

Status pair_loss_grad(Context& ctx, const NsCall& call, const op::pair_loss_grad::Params& p) {
  using In = op::pair_loss_grad::in::Index;
  const float *x = in<float>(call, In::x), *y = in<float>(call, In::y);
  const int64_t n = count(call.in[In::x]);
  const float factor = static_cast<float>(static_cast<double>(*in<float>(call, In::dLoss)) / static_cast<double>(n));
  const bool square = p.kind == op::pair_loss_grad::Kind::l2;
  float* dx = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(PairGradRow);
  ctx.pool.parallelFor(n, kBlock, [&](int64_t b, int64_t e, int) { row(square, factor, x + b, y + b, dx + b, e - b); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
