// The transforms of Winograd F(2x2,3x3) and F(4x4,3x3) for one tile and one vector of channels, compiled once per instruction set.
// Floor: about 12 vector operations per line of 6, (m+2) + (m+2) lines in and (m+2) + m out; in practice reading the pixels and storing the
// points, which is why both lie in whole lines. Reference: winograd.cpp.
#if defined(NS_CPU_WINOGRAD_TRANSFORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_WINOGRAD_TRANSFORM_INL_H_
#undef NS_CPU_WINOGRAD_TRANSFORM_INL_H_
#else
#define NS_CPU_WINOGRAD_TRANSFORM_INL_H_
#endif

#include "native/cpu/gemm_kernel-inl.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/winograd.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE VF C(float x) { return hn::Set(DF(), x); }

// B^T d for one row or column.
template <int M>
HWY_INLINE void InputLine(const VF* d, VF* t) {
  if constexpr (M == 2) {
    t[0] = hn::Sub(d[0], d[2]);
    t[1] = hn::Add(d[1], d[2]);
    t[2] = hn::Sub(d[2], d[1]);
    t[3] = hn::Sub(d[1], d[3]);
  } else {
    const VF a = hn::NegMulAdd(C(4.0f), d[2], d[4]), b = hn::NegMulAdd(C(4.0f), d[1], d[3]);
    const VF c = hn::Sub(d[4], d[2]), e = hn::Mul(C(2.0f), hn::Sub(d[3], d[1]));
    t[0] = hn::MulAdd(C(4.0f), d[0], hn::NegMulAdd(C(5.0f), d[2], d[4]));
    t[1] = hn::Add(a, b);
    t[2] = hn::Sub(a, b);
    t[3] = hn::Add(c, e);
    t[4] = hn::Sub(c, e);
    t[5] = hn::MulAdd(C(4.0f), d[1], hn::NegMulAdd(C(5.0f), d[3], d[5]));
  }
}

// A^T z for one row or column.
template <int M>
HWY_INLINE void OutputLine(const VF* z, VF* t) {
  if constexpr (M == 2) {
    t[0] = hn::Add(hn::Add(z[0], z[1]), z[2]);
    t[1] = hn::Sub(hn::Sub(z[1], z[2]), z[3]);
  } else {
    const VF a = hn::Add(z[1], z[2]), b = hn::Sub(z[1], z[2]), c = hn::Add(z[3], z[4]), e = hn::Sub(z[3], z[4]);
    t[0] = hn::Add(hn::Add(z[0], a), c);
    t[1] = hn::MulAdd(C(2.0f), e, b);
    t[2] = hn::MulAdd(C(4.0f), c, a);
    t[3] = hn::Add(hn::MulAdd(C(8.0f), e, b), z[5]);
  }
}

// B^T d B of one vector of channels; n < kLanes of them are there if kPart. The next vector is at next[k] + nextC and goes behind this one.
template <int M, bool kPart>
HWY_INLINE void InputVector(const float* const* pixel, int64_t c, const float* const* next, int64_t nextC, int64_t n, float* to,
                            int64_t plane) {
  constexpr int E = M + 2;
  const DF d;
  VF mid[E][E];
  NS_UNROLL(8)
  for (int x = 0; x < E; x++) {
    VF in[E], line[E];
    NS_UNROLL(8)
    for (int y = 0; y < E; y++) {
      const float* from = pixel[y * E + x] + c;
      if (x >= 2) __builtin_prefetch(next[y * E + x] + nextC);
      in[y] = kPart ? LoadPart(d, from, static_cast<size_t>(n), 0.0f) : hn::LoadU(d, from);
    }
    InputLine<M>(in, line);
    NS_UNROLL(8)
    for (int y = 0; y < E; y++) mid[y][x] = line[y];
  }
  NS_UNROLL(8)
  for (int y = 0; y < E; y++) {
    VF line[E];
    InputLine<M>(mid[y], line);
    NS_UNROLL(8)
    for (int x = 0; x < E; x++, to += plane) {
      hn::Store(line[x], d, to);
    }
  }
}

// A^T z A of one vector of channels, and the epilogue; y and residual point to the first pixel of the tile.
template <int M, bool kPart, bool kStream>
HWY_INLINE void OutputVector(const Winograd& p, const float* z, int64_t plane, const float* bias, const float* residual, float* y, int rows,
                             int cols, int64_t n) {
  constexpr int E = M + 2;
  const DF d;
  const auto load = [&](const float* from) { return kPart ? LoadPart(d, from, static_cast<size_t>(n), 0.0f) : hn::LoadU(d, from); };
  VF mid[M][E];
  NS_UNROLL(8)
  for (int x = 0; x < E; x++) {
    VF in[E], line[M];
    NS_UNROLL(8)
    for (int k = 0; k < E; k++) in[k] = hn::Load(d, z + (k * E + x) * plane);
    OutputLine<M>(in, line);
    NS_UNROLL(8)
    for (int k = 0; k < M; k++) mid[k][x] = line[k];
  }
  const VF b = bias ? load(bias) : hn::Zero(d), alpha = hn::Set(d, p.alpha), beta = hn::Set(d, p.beta);
  NS_UNROLL(8)
  for (int k = 0; k < M; k++) {
    VF line[M];
    OutputLine<M>(mid[k], line);
    NS_UNROLL(8)
    for (int x = 0; x < M; x++) {
      if (k >= rows || x >= cols) continue;
      const int64_t at = (k * p.outW + x) * p.out;
      VF r = hn::Mul(hn::Add(line[x], b), alpha);
      if (residual) r = hn::MulAdd(beta, load(residual + at), r);
      if constexpr (kPart) {
        StorePart(d, r, y + at, static_cast<size_t>(n));
      } else if constexpr (kStream) {
        hn::Stream(r, d, y + at);
      } else {
        hn::StoreU(r, d, y + at);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_WINOGRAD_TRANSFORM_INL_H_
