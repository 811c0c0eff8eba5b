// Loops shared by the norms and their gradients: sums over a row, columns of channels. Included once per target.
#if defined(NS_CPU_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_NORM_INL_H_
#undef NS_CPU_NORM_INL_H_
#else
#define NS_CPU_NORM_INL_H_
#endif

#include "hwy/highway.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using NormD = hn::ScalableTag<float>;
using NormV = hn::Vec<NormD>;

HWY_INLINE int64_t NormLanes() { return static_cast<int64_t>(hn::Lanes(NormD())); }

// Sum of f(v) over a row; lanes behind the end count as zero.
template <class F>
HWY_INLINE float NormSum(const float* x, int64_t n, F f) {
  const NormD d;
  const int64_t N = NormLanes();
  NormV s0 = hn::Zero(d), s1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    s0 = hn::Add(s0, f(hn::LoadU(d, x + i)));
    s1 = hn::Add(s1, f(hn::LoadU(d, x + i + N)));
  }
  for (; i + N <= n; i += N) s0 = hn::Add(s0, f(hn::LoadU(d, x + i)));
  if (i < n) {
    const size_t r = static_cast<size_t>(n - i);
    s1 = hn::Add(s1, hn::IfThenElseZero(hn::FirstN(d, r), f(LoadPart(d, x + i, r, 0.0f))));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

// f(i, load, store) over the channels in vectors; the last one goes through padded copies.
template <class F>
HWY_INLINE void NormColumns(int64_t C, F f) {
  const NormD d;
  const int64_t N = NormLanes();
  int64_t i = 0;
  for (; i + N <= C; i += N) {
    f(
        i, [&](const float* p) { return hn::LoadU(d, p + i); }, [&](NormV v, float* p) { hn::StoreU(v, d, p + i); });
  }
  if (i < C) {
    const size_t r = static_cast<size_t>(C - i);
    f(
        i, [&](const float* p) { return LoadPart(d, p + i, r, 0.0f); }, [&](NormV v, float* p) { StorePart(d, v, p + i, r); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_NORM_INL_H_
