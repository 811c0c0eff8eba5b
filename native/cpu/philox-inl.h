// Philox for whole vectors of consecutive counters, and words to numbers in (0, 1). Included once per target.
#if defined(NS_CPU_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_PHILOX_INL_H_
#undef NS_CPU_PHILOX_INL_H_
#else
#define NS_CPU_PHILOX_INL_H_
#endif

#include "hwy/highway.h"
#include "native/cpu/philox.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using PhiU = hn::ScalableTag<uint32_t>;
using PhiV = hn::Vec<PhiU>;

#if HWY_TARGET != HWY_SCALAR
// Both halves of m * x, lane by lane.
HWY_INLINE void PhiloxMul(PhiV m, PhiV x, PhiV* low, PhiV* high) {
  const PhiU d;
  const hn::RepartitionToWide<PhiU> wide;
  const auto even = hn::MulEven(m, x);
  const auto odd = hn::MulEven(m, hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, x))));
  *low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
  *high = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even)));
}

HWY_INLINE void PhiloxRounds(uint32_t key0, uint32_t key1, PhiV* c) {
  const PhiU d;
  const PhiV m0 = hn::Set(d, kPhiloxM0), m1 = hn::Set(d, kPhiloxM1);
  for (int round = 0; round < 10; round++) {
    PhiV aLow, aHigh, bLow, bHigh;
    PhiloxMul(m0, c[0], &aLow, &aHigh);
    PhiloxMul(m1, c[2], &bLow, &bHigh);
    c[0] = hn::Xor(hn::Xor(bHigh, c[1]), hn::Set(d, key0));
    c[2] = hn::Xor(hn::Xor(aHigh, c[3]), hn::Set(d, key1));
    c[1] = bLow;
    c[3] = aLow;
    key0 += kPhiloxW0;
    key1 += kPhiloxW1;
  }
}
#endif

// Words of blocks [block, block + Lanes) to out[4 * Lanes], in order.
HWY_INLINE void PhiloxBlocks(const PhiloxStream& s, uint64_t block, uint32_t* out) {
  const PhiU d;
  const uint32_t N = static_cast<uint32_t>(hn::Lanes(d));
#if HWY_TARGET != HWY_SCALAR
  const Philox first = philoxCounter(s, block);
  // A carry into the high word inside one vector goes the long way.
  if (s.wordThree || first.w[0] <= 0xffffffffu - (N - 1)) {
    const PhiV step = hn::Iota(d, 0);
    PhiV c[4] = {hn::Set(d, first.w[0]), hn::Set(d, first.w[1]), hn::Set(d, first.w[2]), hn::Set(d, first.w[3])};
    const int counting = s.wordThree ? 3 : 0;
    c[counting] = hn::Add(c[counting], step);
    PhiloxRounds(s.key0, s.key1, c);
    hn::StoreInterleaved4(c[0], c[1], c[2], c[3], d, out);
    return;
  }
#endif
  for (uint32_t i = 0; i < N; i++) {
    const Philox p = philox(s.key0, s.key1, philoxCounter(s, block + i));
    for (int k = 0; k < 4; k++) out[4 * i + static_cast<uint32_t>(k)] = p.w[k];
  }
}

// (x + 0.5) / 2^32 in double, exact.
template <class D>
HWY_INLINE hn::Vec<D> PhiloxUniform(D d, const uint32_t* words) {
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint32_t, D> du;
  const auto x = hn::BitCast(di, hn::Xor(hn::LoadU(du, words), hn::Set(du, 0x80000000u)));
  return hn::Mul(hn::Add(hn::PromoteTo(d, x), hn::Set(d, 2147483648.5)), hn::Set(d, 0x1p-32));
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_PHILOX_INL_H_
