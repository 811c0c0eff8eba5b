// What attention, its gradient and the nearest-code lookup share: 2^x, rows of a cache, transposes, panels of keys, scores of 6 rows.
// Included once per target. A score is one chain of multiply-adds over channels in order.
#if defined(NS_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_ATTENTION_INL_H_
#undef NS_CPU_ATTENTION_INL_H_
#else
#define NS_CPU_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "hwy/highway.h"
#include "native/cpu/attention.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using AttF = hn::ScalableTag<float>;
using AttV = hn::Vec<AttF>;

HWY_INLINE int64_t AttLanes() { return static_cast<int64_t>(hn::Lanes(AttF())); }
HWY_INLINE int64_t AttRoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// 2^x for x <= 0; 2^0 is exactly 1, below 2^-126 zero, NaN stays NaN. Relative error of the polynomial 1.1e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AttExp2(D d, V x) {
  const hn::RebindToSigned<D> di;
  // 1.5 * 2^23 + 127: the sum's low bits are round(x) + 127, the exponent of 2^round(x).
  const V magic = hn::Set(d, 12583039.0f);
  const V t = hn::Add(x, magic);
  const V r = hn::Sub(x, hn::Sub(t, magic));
  V p = hn::Set(d, 1.326472725e-03f);
  p = hn::MulAdd(p, r, hn::Set(d, 9.671512688e-03f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550733744e-02f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402224208e-01f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931469776e-01f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const V s = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, t)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), hn::Mul(p, s));
}

HWY_INLINE AttV AttExp2(AttV x) { return AttExp2(AttF(), x); }

// max(|x|, eps) as F.normalize takes it.
HWY_INLINE float AttNorm(const float* x, int64_t c) {
  const AttF d;
  const hn::CappedTag<float, 1> one;
  const int64_t N = AttLanes();
  AttV sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + N <= c; i += N) {
    const AttV v = hn::LoadU(d, x + i);
    sum = hn::MulAdd(v, v, sum);
  }
  if (i < c) {
    const AttV v = LoadPart(d, x + i, static_cast<size_t>(c - i), 0.0f);
    sum = hn::MulAdd(v, v, sum);
  }
  // The root of one lane: that of a vector takes many times as long.
  const float norm = hn::GetLane(hn::Sqrt(hn::Set(one, hn::GetLane(hn::SumOfLanes(d, sum)))));
  return std::max(norm, 1e-12f);
}

// y = x / |x| * factor
HWY_INLINE void AttNormalize(const float* x, float* y, int64_t c, float factor = 1.0f) {
  const AttF d;
  const AttV scale = hn::Set(d, factor / AttNorm(x, c));
  Map(d, x, y, c, [&](AttV v) { return hn::Mul(v, scale); });
}

// One cached row as f32; y has room for whole vectors, x only for c values.
HWY_INLINE void AttLoadRow(DType type, const void* x, float* y, int64_t c) {
  const AttF d;
  const int64_t N = AttLanes();
  const uint16_t* p = static_cast<const uint16_t*>(x);
  HWY_ALIGN uint16_t tail[hn::MaxLanes(AttF())] = {};
  for (int64_t i = 0; i < c; i += N) {
    const uint16_t* from = p + i;
    if (i + N > c) {
      std::memcpy(tail, from, static_cast<size_t>(c - i) * 2);
      from = tail;
    }
    hn::StoreU(type == DType::f16 ? LoadF16(d, from) : LoadBF16(d, from), d, y + i);
  }
}

// The inverse, rounding to nearest even; x has whole vectors.
HWY_INLINE void AttStoreRow(DType type, const float* x, void* y, int64_t c) {
  const AttF d;
  const int64_t N = AttLanes();
  if (type == DType::f32) {
    std::memcpy(y, x, static_cast<size_t>(c) * 4);
    return;
  }
  uint16_t* p = static_cast<uint16_t*>(y);
  HWY_ALIGN uint16_t part[hn::MaxLanes(AttF())];
  for (int64_t i = 0; i < c; i += N) {
    const AttV v = hn::LoadU(d, x + i);
    type == DType::f16 ? StoreF16(d, v, part) : StoreBF16(d, v, part);
    std::memcpy(p + i, part, static_cast<size_t>(std::min(N, c - i)) * 2);
  }
}

// Four rows of c values to columns: to[i * step + (0..3)].
HWY_INLINE void AttTranspose4(const float* const* rows, int64_t c, float* to, int64_t step) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; i + 4 <= c; i += 4) Transpose4(rows[0] + i, rows[1] + i, rows[2] + i, rows[3] + i, to + i * step, step);
#endif
  for (; i < c; i++) {
    for (int r = 0; r < 4; r++) to[i * step + r] = rows[r][i];
  }
}

// Rows to panels [keys / 2N][c][2N]; missing keys up to a multiple of 2N become zero.
HWY_INLINE void AttPackKeys(const float* const* rows, int64_t keys, int64_t c, const float* zeros, float* to) {
  const int64_t P = 2 * AttLanes();
  const int64_t padded = AttRoundUp(keys, P);
  if (P < 4) {
    for (int64_t j = 0; j < padded; j++) {
      float* panel = to + j / P * c * P + j % P;
      for (int64_t i = 0; i < c; i++) panel[i * P] = j < keys ? rows[j][i] : 0.0f;
    }
    return;
  }
  for (int64_t j = 0; j < padded; j += 4) {
    const float* four[4];
    for (int64_t r = 0; r < 4; r++) four[r] = j + r < keys ? rows[j + r] : zeros;
    AttTranspose4(four, c, to + j / P * c * P + j % P, P);
  }
}

#define NS_ATT_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)

// s[r][j] = sum_i q[i][r] * k[i][j] for 6 rows and `keys` columns rounded up to 2N.
HWY_INLINE void AttScores(const float* HWY_RESTRICT q, const float* HWY_RESTRICT k, int64_t c, int64_t keys, float* HWY_RESTRICT s) {
  const AttF d;
  const int64_t N = AttLanes(), P = 2 * N;
  for (int64_t j = 0; j < keys; j += P, k += c * P) {
#define NS_X(r) AttV a##r = hn::Zero(d), b##r = hn::Zero(d);
    NS_ATT_ROWS(NS_X)
#undef NS_X
    const float* qp = q;
    const float* kp = k;
    for (int64_t i = 0; i < c; i++, qp += kAttRows, kp += P) {
      const AttV k0 = hn::LoadU(d, kp), k1 = hn::LoadU(d, kp + N);
#define NS_X(r)                       \
  {                                   \
    const AttV x = hn::Set(d, qp[r]); \
    a##r = hn::MulAdd(x, k0, a##r);   \
    b##r = hn::MulAdd(x, k1, b##r);   \
  }
      NS_ATT_ROWS(NS_X)
#undef NS_X
    }
#define NS_X(r)                              \
  hn::StoreU(a##r, d, s + r * kAttKeys + j); \
  hn::StoreU(b##r, d, s + r * kAttKeys + j + N);
    NS_ATT_ROWS(NS_X)
#undef NS_X
  }
}

#undef NS_ATT_ROWS

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_ATTENTION_INL_H_
