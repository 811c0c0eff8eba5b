// Softmax of one row, shared by softmax, sample_cfg and gumbel_softmax so that the fused chain gives the same bits. Included once per
// target.
#if defined(NS_CPU_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_SOFTMAX_INL_H_
#undef NS_CPU_SOFTMAX_INL_H_
#else
#define NS_CPU_SOFTMAX_INL_H_
#endif

#include <limits>

#include "hwy/highway.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using SoftD = hn::ScalableTag<float>;
using SoftV = hn::Vec<SoftD>;

// f(vector, i) over a row; lanes behind the end are -inf.
template <class F>
HWY_INLINE void SoftmaxWalk(const float* x, int64_t n, float scale, F f) {
  const SoftD d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const SoftV mul = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + N <= n; i += N) f(hn::Mul(hn::LoadU(d, x + i), mul), i);
  if (i < n) {
    const size_t r = static_cast<size_t>(n - i);
    const SoftV v = hn::Mul(LoadPart(d, x + i, r, 0.0f), mul);
    f(hn::IfThenElse(hn::FirstN(d, r), v, hn::Set(d, -std::numeric_limits<float>::infinity())), i);
  }
}

// Largest value of x * scale; NaN if there is one.
HWY_INLINE float RowMax(const float* x, int64_t n, float scale) {
  const SoftD d;
  SoftV top = hn::Set(d, -std::numeric_limits<float>::infinity());
  SoftV nan = hn::Zero(d);
  SoftmaxWalk(x, n, scale, [&](SoftV v, int64_t) {
    top = hn::Max(top, v);
    nan = hn::Or(nan, hn::VecFromMask(d, hn::IsNaN(v)));
  });
  if (!hn::AllFalse(d, hn::MaskFromVec(nan))) return std::numeric_limits<float>::quiet_NaN();
  return hn::GetLane(hn::MaxOfLanes(d, top));
}

// y = exp(x * scale - top); y may be x. Returns the sum.
HWY_INLINE float ExpRow(const float* x, float* y, int64_t n, float scale, float top) {
  const SoftD d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const SoftV max = hn::Set(d, top);
  SoftV sum = hn::Zero(d);
  SoftmaxWalk(x, n, scale, [&](SoftV v, int64_t i) {
    const SoftV e = cpu::HWY_NAMESPACE::ExpNonPositive(d, hn::Sub(v, max));
    sum = hn::Add(sum, e);
    i + N <= n ? hn::StoreU(e, d, y + i) : StorePart(d, e, y + i, static_cast<size_t>(n - i));
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// Returns the sum of exponentials: NaN when the row holds a NaN, +inf, or nothing but -inf.
HWY_INLINE float SoftmaxRow(const float* x, float* y, int64_t n, float scale) {
  const SoftD d;
  const float total = ExpRow(x, y, n, scale, RowMax(x, n, scale));
  const SoftV inverse = hn::Set(d, 1.0f / total);
  Map(d, y, y, n, [&](SoftV v) { return hn::Mul(v, inverse); });
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_SOFTMAX_INL_H_
