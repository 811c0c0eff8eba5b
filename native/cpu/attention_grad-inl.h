// Tile kernels of attention_grad: packing of rows, the 6-row product, probabilities and their gradient. Included once per target.
// Every sum is one chain of multiply-adds over channels, keys or queries in order, blocks counted from 0.
#if defined(NS_CPU_ATTENTION_GRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_ATTENTION_GRAD_INL_H_
#undef NS_CPU_ATTENTION_GRAD_INL_H_
#else
#define NS_CPU_ATTENTION_GRAD_INL_H_
#endif

#include "native/cpu/attention-inl.h"
#include "native/cpu/attention_grad.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

#define NS_GRAD_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)

// out[r][0..2N) (+)= sum over i < n of a[i * kStep + r * kRow] * w[i][0..2N), 6 rows.
template <int64_t kStep, int64_t kRow, bool kAdd>
HWY_INLINE void GradTile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT w, int64_t n, float* HWY_RESTRICT out, int64_t ld) {
  const AttF d;
  const int64_t N = AttLanes();
#define NS_X(r)                                                \
  AttV a##r = kAdd ? hn::LoadU(d, out + r * ld) : hn::Zero(d); \
  AttV b##r = kAdd ? hn::LoadU(d, out + r * ld + N) : hn::Zero(d);
  NS_GRAD_ROWS(NS_X)
#undef NS_X
  for (int64_t i = 0; i < n; i++, a += kStep, w += 2 * N) {
    const AttV w0 = hn::LoadU(d, w), w1 = hn::LoadU(d, w + N);
#define NS_X(r)                             \
  {                                         \
    const AttV x = hn::Set(d, a[r * kRow]); \
    a##r = hn::MulAdd(x, w0, a##r);         \
    b##r = hn::MulAdd(x, w1, b##r);         \
  }
    NS_GRAD_ROWS(NS_X)
#undef NS_X
  }
#define NS_X(r)                      \
  hn::StoreU(a##r, d, out + r * ld); \
  hn::StoreU(b##r, d, out + r * ld + N);
  NS_GRAD_ROWS(NS_X)
#undef NS_X
}

#undef NS_GRAD_ROWS

// s[row][key] of a block: `tiles` tiles [c][6] against panels [c][2N] of keys rounded up to 2N.
HWY_INLINE void GradScores(const float* rows, int64_t tiles, const float* panels, int64_t c, int64_t keys, float* s) {
  const int64_t P = 2 * AttLanes();
  for (int64_t j = 0; j < keys; j += P, panels += c * P) {
    for (int64_t t = 0; t < tiles; t++)
      GradTile<kAttRows, 1, false>(rows + t * kAttRows * c, panels, c, s + t * kAttRows * kGradKeys + j, kGradKeys);
  }
}

// out[key][channel] += sum over rows of s[row][key] * panels[row][channel]; keys in tiles of 6.
HWY_INLINE void GradKeys(const float* s, int64_t rows, int64_t keys, const float* panels, int64_t cp, float* out) {
  const int64_t P = 2 * AttLanes();
  for (int64_t c = 0; c < cp; c += P, panels += kGradRows * P) {
    for (int64_t j = 0; j < keys; j += kAttRows) GradTile<kGradKeys, 1, true>(s + j, panels, rows, out + j * cp + c, cp);
  }
}

// out[row][channel] += sum over keys of s[row][key] * panels[key][channel].
HWY_INLINE void GradQueries(const float* s, int64_t tiles, int64_t keys, const float* panels, int64_t cp, float* out) {
  const int64_t P = 2 * AttLanes();
  for (int64_t c = 0; c < cp; c += P, panels += kGradKeys * P) {
    for (int64_t t = 0; t < tiles; t++) {
      GradTile<1, kGradKeys, true>(s + t * kAttRows * kGradKeys, panels, keys, out + t * kAttRows * cp + c, cp);
    }
  }
}

// One row: scores (in units of log 2) to probabilities p, dp to ds = p * (dp - dot); both zero from `limit` on.
HWY_INLINE void GradSoftmaxRow(float* HWY_RESTRICT s, float* HWY_RESTRICT dp, int64_t keys, int64_t limit, float lse, float dot) {
  const AttF d;
  const int64_t N = AttLanes();
  const AttV log = hn::Set(d, lse), mean = hn::Set(d, dot);
  for (int64_t j = 0; j < keys; j += N) {
    AttV p = AttExp2(hn::Sub(hn::LoadU(d, s + j), log));
    AttV g = hn::Mul(p, hn::Sub(hn::LoadU(d, dp + j), mean));
    if (j + N > limit) {
      const auto seen = hn::FirstN(d, static_cast<size_t>(std::max<int64_t>(limit - j, 0)));
      p = hn::IfThenElseZero(seen, p);
      g = hn::IfThenElseZero(seen, g);
    }
    hn::StoreU(p, d, s + j);
    hn::StoreU(g, d, dp + j);
  }
}

// Row `at` of panels [ceil(c / 2N)][rows][2N]; columns beyond c are zero.
HWY_INLINE void GradPackRow(const float* row, int64_t at, int64_t rows, int64_t c, float* to) {
  const AttF d;
  const int64_t N = AttLanes(), P = 2 * N;
  to += at * P;
  int64_t i = 0;
  for (; i + P <= c; i += P, to += rows * P) {
    hn::StoreU(hn::LoadU(d, row + i), d, to);
    hn::StoreU(hn::LoadU(d, row + i + N), d, to + N);
  }
  if (i < c) {
    for (int64_t k = 0; k < P; k++) to[k] = i + k < c ? row[i + k] : 0.0f;
  }
}

// Six rows to a tile [c][6].
HWY_INLINE void GradPackTile(const float* const* six, int64_t c, float* to) {
  // Rows 2 and 3 are written twice, with the same values.
  AttTranspose4(six, c, to, kAttRows);
  AttTranspose4(six + 2, c, to + 2, kAttRows);
}

HWY_INLINE float GradDot(const float* a, const float* b, int64_t c) {
  const AttF d;
  const int64_t N = AttLanes();
  AttV sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + N <= c; i += N) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  if (i < c) {
    const size_t r = static_cast<size_t>(c - i);
    sum = hn::MulAdd(LoadPart(d, a + i, r, 0.0f), LoadPart(d, b + i, r, 0.0f), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// From the gradient g of x / max(|x|, 1e-12) (of x itself without normalize), times factor, to that of x. Returns the product of the
// normalised row and its gradient. unit: room for c values.
HWY_INLINE float GradNormalize(const float* x, const float* g, float factor, bool normalize, float* unit, float* dx, int64_t c) {
  const AttF d;
  const AttV f = hn::Set(d, factor);
  if (!normalize) {
    Map(d, g, dx, c, [&](AttV v) { return hn::Mul(v, f); });
    return 0.0f;
  }
  const float length = AttNorm(x, c);
  const AttV norm = hn::Set(d, length);
  Map(d, x, unit, c, [&](AttV v) { return hn::Div(v, norm); });
  const float dot = GradDot(unit, g, c);
  const AttV along = hn::Set(d, length > 1e-12f ? dot : 0.0f);
  Map2(d, unit, g, dx, c, [&](AttV u, AttV v) { return hn::Div(hn::Mul(hn::NegMulAdd(u, along, v), f), norm); });
  return dot * factor;
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_ATTENTION_GRAD_INL_H_
