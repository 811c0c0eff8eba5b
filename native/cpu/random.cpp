// random: uniform, normal and truncated normal numbers from Philox; element i depends on (seed, stream, i) alone.
// Floor: memory, 4 bytes written per element; about 2 ns per element and core for the inverse distribution function.
// Normal: mean + std * sqrt(2) * erfinv(2 u - 1). Truncated: the same after u is mapped to [cdf(-2), cdf(2)], as nn.init.trunc_normal_
// does. Reference: erfinv in f32 by M. Giles, Approximating the erfinv function (GPU Computing Gems 2, 2011); Philox: native/abi/random.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/random.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on
#include <cstring>

#include "native/cpu/context.h"
#include "native/cpu/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// erfinv(t), where rest = 1 - |t| carries the bits that t has lost near one. Relative error below 4e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ErfInv(D d, V t, V rest) {
  const V w0 = hn::Neg(hn::Log(d, hn::Mul(rest, hn::Sub(hn::Set(d, 2.0f), rest))));
  const V a = hn::Sub(w0, hn::Set(d, 2.5f));
  V p = hn::Set(d, 2.81022636e-08f);
  p = hn::MulAdd(p, a, hn::Set(d, 3.43273939e-07f));
  p = hn::MulAdd(p, a, hn::Set(d, -3.5233877e-06f));
  p = hn::MulAdd(p, a, hn::Set(d, -4.39150654e-06f));
  p = hn::MulAdd(p, a, hn::Set(d, 0.00021858087f));
  p = hn::MulAdd(p, a, hn::Set(d, -0.00125372503f));
  p = hn::MulAdd(p, a, hn::Set(d, -0.00417768164f));
  p = hn::MulAdd(p, a, hn::Set(d, 0.246640727f));
  p = hn::MulAdd(p, a, hn::Set(d, 1.50140941f));
  const V b = hn::Sub(hn::Sqrt(hn::Max(w0, hn::Zero(d))), hn::Set(d, 3.0f));
  V q = hn::Set(d, -0.000200214257f);
  q = hn::MulAdd(q, b, hn::Set(d, 0.000100950558f));
  q = hn::MulAdd(q, b, hn::Set(d, 0.00134934322f));
  q = hn::MulAdd(q, b, hn::Set(d, -0.00367342844f));
  q = hn::MulAdd(q, b, hn::Set(d, 0.00573950773f));
  q = hn::MulAdd(q, b, hn::Set(d, -0.0076224613f));
  q = hn::MulAdd(q, b, hn::Set(d, 0.00943887047f));
  q = hn::MulAdd(q, b, hn::Set(d, 1.00167406f));
  q = hn::MulAdd(q, b, hn::Set(d, 2.83297682f));
  return hn::Mul(t, hn::IfThenElse(hn::Lt(w0, hn::Set(d, 5.0f)), p, q));
}

// n <= 4 * Lanes numbers from their words.
HWY_INLINE void RandomVector(const RandomPlan& plan, const uint32_t* words, float* to) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> half;
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d), H = hn::Lanes(dd);
  HWY_ALIGN float t[4 * hn::MaxLanes(d)], rest[4 * hn::MaxLanes(d)];
  const auto from = hn::Set(dd, plan.from), span = hn::Set(dd, plan.span), one = hn::Set(dd, 1.0);
  for (size_t i = 0; i < 4 * N; i += H) {
    const auto v = hn::MulAdd(PhiloxUniform(dd, words + i), span, from);
    hn::StoreU(hn::DemoteTo(half, v), half, t + i);
    if (plan.inverse) hn::StoreU(hn::DemoteTo(half, hn::Sub(one, hn::Abs(v))), half, rest + i);
  }
  const auto lo = hn::Set(d, plan.lo), hi = hn::Set(d, plan.hi);
  for (size_t i = 0; i < 4 * N; i += N) {
    auto v = hn::Load(d, t + i);
    if (plan.inverse)
      v = hn::MulAdd(ErfInv(d, v, hn::Max(hn::Load(d, rest + i), hn::Set(d, 1e-30f))), hn::Set(d, plan.mul), hn::Set(d, plan.add));
    hn::StoreU(hn::Min(hn::Max(v, lo), hi), d, to + i);
  }
}

// Elements [begin, end), begin a multiple of 4 * Lanes.
void RandomRange(const RandomPlan& plan, int64_t begin, int64_t end, float* y) {
  const PhiloxStream s = {plan.key0, plan.key1, false, 0, 0, plan.stream, kPhiloxRandom};
  const int64_t step = 4 * static_cast<int64_t>(hn::Lanes(PhiU()));
  HWY_ALIGN uint32_t words[4 * hn::MaxLanes(PhiU())];
  HWY_ALIGN float part[4 * hn::MaxLanes(hn::ScalableTag<float>())];
  for (int64_t i = begin; i < end; i += step) {
    PhiloxBlocks(s, static_cast<uint64_t>(i) / 4, words);
    if (i + step <= end) {
      RandomVector(plan, words, y + i);
    } else {
      RandomVector(plan, words, part);
      std::memcpy(y + i, part, static_cast<size_t>(end - i) * sizeof(float));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(RandomRange);

namespace kernels {

Status random(Context& ctx, const NsCall& call, const op::random::Params& p) {
  RandomPlan plan;
  if (Status s = planRandom(p, &plan); !s.ok()) return s;
  const auto range = HWY_DYNAMIC_DISPATCH(RandomRange);
  float* y = out<float>(call, 0);
  ctx.pool.parallelFor(count(call.out[0]), 16384, [&](int64_t b, int64_t e, int) { range(plan, b, e, y); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
