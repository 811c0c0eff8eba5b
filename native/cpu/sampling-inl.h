// Vector parts of sampling over one row. Included once per target.
#if defined(NS_CPU_SAMPLING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_SAMPLING_INL_H_
#undef NS_CPU_SAMPLING_INL_H_
#else
#define NS_CPU_SAMPLING_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "native/cpu/philox-inl.h"
#include "native/cpu/sampling.h"
#include "native/cpu/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// (1 + t) * c - t * u, products rounded one by one as the reference does it.
void SampleMix(const float* c, const float* u, float t, float* y, int64_t n) {
  const SoftD d;
  const SoftV a = hn::Set(d, static_cast<float>(1.0 + static_cast<double>(t))), b = hn::Set(d, t);
  Map2(d, c, u, y, n, [&](SoftV x, SoftV z) { return hn::Sub(hn::Mul(a, x), hn::Mul(b, z)); });
}

void SampleStats(const float* x, int64_t n, RowStats* s) {
  const SoftD d;
  const float inf = std::numeric_limits<float>::infinity();
  const SoftV least = hn::Set(d, -inf), one = hn::Set(d, 1.0f), top = hn::Set(d, inf);
  SoftV lo = top, hi = least, bad = hn::Zero(d);
  int64_t finite = 0, next = 0;
  SoftV number = hn::Zero(d);
  SoftmaxWalk(x, n, 1.0f, [&](SoftV v, int64_t i) {
    // Lanes count in f32, exact while below 2^24.
    if (i >= next) {
      finite += static_cast<int64_t>(hn::GetLane(hn::SumOfLanes(d, number)));
      number = hn::Zero(d);
      next = i + (1 << 20);
    }
    const auto real = hn::Gt(v, least);
    lo = hn::Min(lo, hn::IfThenElse(real, v, top));
    hi = hn::Max(hi, hn::IfThenElse(real, v, least));
    number = hn::Add(number, hn::IfThenElseZero(real, one));
    bad = hn::Or(bad, hn::VecFromMask(d, hn::Not(hn::Lt(v, top))));
  });
  s->finite = finite + static_cast<int64_t>(hn::GetLane(hn::SumOfLanes(d, number)));
  s->least = hn::GetLane(hn::MinOfLanes(d, lo));
  s->most = hn::GetLane(hn::MaxOfLanes(d, hi));
  s->hasBad = !hn::AllFalse(d, hn::MaskFromVec(bad));
}

// Monotone bin of every finite value from 1 on, 0 for -inf. `bins` has room for whole vectors.
void SampleBins(const float* x, int64_t n, float least, float scale, int32_t* bins) {
  const SoftD d;
  const hn::RebindToSigned<SoftD> di;
  const SoftV lo = hn::Set(d, least), mul = hn::Set(d, scale), last = hn::Set(d, static_cast<float>(kSampleBins - 1));
  const SoftV none = hn::Set(d, -std::numeric_limits<float>::infinity()), one = hn::Set(d, 1.0f);
  SoftmaxWalk(x, n, 1.0f, [&](SoftV v, int64_t i) {
    const SoftV b = hn::Max(hn::Min(hn::Mul(hn::Sub(v, lo), mul), last), hn::Zero(d));
    hn::StoreU(hn::ConvertTo(di, hn::IfThenElseZero(hn::Gt(v, none), hn::Add(b, one))), di, bins + i);
  });
}

// -inf for every value below the cut, or equal to it with an index below `at`.
void SampleCut(float* x, int64_t n, float cut, int64_t at) {
  const SoftD d;
  const hn::RebindToSigned<SoftD> di;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const SoftV least = hn::Set(d, -std::numeric_limits<float>::infinity()), limit = hn::Set(d, cut);
  const auto lane = hn::Iota(di, 0);
  SoftmaxWalk(x, n, 1.0f, [&](SoftV v, int64_t i) {
    const auto before = hn::RebindMask(d, hn::Lt(lane, hn::Set(di, static_cast<int32_t>(at - i))));
    const auto gone = hn::Or(hn::Lt(v, limit), hn::And(hn::Eq(v, limit), before));
    const SoftV kept = hn::IfThenElse(gone, least, v);
    i + N <= n ? hn::StoreU(kept, d, x + i) : StorePart(d, kept, x + i, static_cast<size_t>(n - i));
  });
}

// Indices of the finite values in one bin, in order; returns how many.
int64_t SampleCollect(const float* x, const int32_t* bins, int64_t n, int32_t bin, int32_t* picked) {
  const SoftD d;
  const hn::RebindToSigned<SoftD> di;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto wanted = hn::Set(di, bin);
  int64_t found = 0;
  for (int64_t i = 0; i < n; i += N) {
    if (hn::AllFalse(di, hn::Eq(hn::LoadU(di, bins + i), wanted))) continue;
    for (int64_t j = i; j < std::min(n, i + N); j++) {
      if (bins[j] == bin && x[j] > -std::numeric_limits<float>::infinity()) picked[found++] = static_cast<int32_t>(j);
    }
  }
  return found;
}

float SampleExp(const float* x, float* y, int64_t n, float top) { return ExpRow(x, y, n, 1.0f, top); }
float SampleSoftmax(const float* x, float* y, int64_t n) { return SoftmaxRow(x, y, n, 1.0f); }

// y = softmax((x * mul + g) / tau); returns the sum. g null: Gumbel noise from Philox.
float GumbelRow(const float* x, const float* g, const PhiloxStream& stream, float mul, float tau, float* y, int64_t n) {
  const SoftD d;
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> half;
  const size_t N = hn::Lanes(d), H = hn::Lanes(dd);
  const SoftV m = hn::Set(d, mul), t = hn::Set(d, tau);
  const auto mix = [&](SoftV a, SoftV b) { return hn::Div(hn::Add(hn::Mul(a, m), b), t); };
  if (g) {
    Map2(d, x, g, y, n, mix);
    return SoftmaxRow(y, y, n, 1.0f);
  }
  HWY_ALIGN uint32_t words[4 * hn::MaxLanes(SoftD())];
  HWY_ALIGN float noise[4 * hn::MaxLanes(SoftD())];
  const int64_t step = 4 * static_cast<int64_t>(N);
  for (int64_t i = 0; i < n; i += step) {
    PhiloxBlocks(stream, static_cast<uint64_t>(i) / 4, words);
    for (size_t k = 0; k < 4 * N; k += H) {
      const auto e = hn::Neg(hn::Log(dd, PhiloxUniform(dd, words + k)));
      hn::StoreU(hn::DemoteTo(half, hn::Neg(hn::Log(dd, e))), half, noise + k);
    }
    Map2(d, x + i, noise, y + i, std::min(step, n - i), mix);
  }
  return SoftmaxRow(y, y, n, 1.0f);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_SAMPLING_INL_H_
