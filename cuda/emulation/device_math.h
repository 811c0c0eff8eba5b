// The device's arithmetic by its names. Fast approximations are computed exactly here: their error shows on a device alone.
#pragma once
#include <math.h>

#include <cstdint>
#include <limits>

#include "cuda/emulation/device.h"

inline int __float_as_int(float v) { return ns::emulation::bits<int>(v); }
inline unsigned __float_as_uint(float v) { return ns::emulation::bits<unsigned>(v); }
inline float __int_as_float(int v) { return ns::emulation::bits<float>(v); }
inline float __uint_as_float(unsigned v) { return ns::emulation::bits<float>(v); }
inline long long __double_as_longlong(double v) { return ns::emulation::bits<long long>(v); }
inline double __longlong_as_double(long long v) { return ns::emulation::bits<double>(v); }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll(static_cast<unsigned long long>(v)) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>((static_cast<int64_t>(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= ((v >> i) & 1u) << (31 - i);
  return r;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  const uint64_t all = (static_cast<uint64_t>(b) << 32) | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= static_cast<unsigned>((all >> (((s >> (4 * i)) & 7) * 8)) & 0xff) << (8 * i);
  return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
  n &= 31;
  return n ? (hi << n) | (lo >> (32 - n)) : hi;
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
  n &= 31;
  return n ? (lo >> n) | (hi << (32 - n)) : lo;
}

// The `_rn` forms are never joined to a fused product on a device; `volatile` keeps the host's compiler from it.
inline float __fmul_rn(float a, float b) {
  volatile float r = a * b;
  return r;
}
inline float __fadd_rn(float a, float b) {
  volatile float r = a + b;
  return r;
}
inline float __fsub_rn(float a, float b) {
  volatile float r = a - b;
  return r;
}
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fsqrt_rn(float v) { return __builtin_sqrtf(v); }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __frsqrt_rn(float v) { return static_cast<float>(1.0 / sqrt(static_cast<double>(v))); }
inline double __dmul_rn(double a, double b) {
  volatile double r = a * b;
  return r;
}
inline double __dadd_rn(double a, double b) {
  volatile double r = a + b;
  return r;
}
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double v) { return __builtin_sqrt(v); }

inline float __expf(float v) { return expf(v); }
inline float __exp10f(float v) { return powf(10.0f, v); }
inline float __logf(float v) { return logf(v); }
inline float __log2f(float v) { return log2f(v); }
inline float __sinf(float v) { return sinf(v); }
inline float __cosf(float v) { return cosf(v); }
inline float __powf(float a, float b) { return powf(a, b); }
inline float __tanhf(float v) { return tanhf(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float fdividef(float a, float b) { return a / b; }
inline float __saturatef(float v) { return v != v ? 0.0f : v < 0 ? 0.0f : v > 1 ? 1.0f : v; }
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline double rsqrt(double v) { return 1.0 / sqrt(v); }
inline float sinpif(float v) { return static_cast<float>(sin(M_PI * fmod(static_cast<double>(v), 2.0))); }
inline float cospif(float v) { return static_cast<float>(cos(M_PI * fmod(static_cast<double>(v), 2.0))); }
inline void sincospif(float v, float* s, float* c) {
  *s = sinpif(v);
  *c = cospif(v);
}
inline float normcdff(float v) { return 0.5f * erfcf(-v * 0.70710678f); }
double erfinv(double v);
inline float erfinvf(float v) { return static_cast<float>(erfinv(static_cast<double>(v))); }

// Conversions saturate and take NaN to 0, unlike a cast on the host.
namespace ns::emulation {
template <class T, class F>
T saturate(F v) {
  if (v != v) return 0;
  if (v <= static_cast<F>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (v >= static_cast<F>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(v);
}
}  // namespace ns::emulation
inline int __float2int_rn(float v) { return ns::emulation::saturate<int>(nearbyintf(v)); }
inline int __float2int_rz(float v) { return ns::emulation::saturate<int>(truncf(v)); }
inline int __float2int_rd(float v) { return ns::emulation::saturate<int>(floorf(v)); }
inline int __float2int_ru(float v) { return ns::emulation::saturate<int>(ceilf(v)); }
inline unsigned __float2uint_rn(float v) { return ns::emulation::saturate<unsigned>(nearbyintf(v)); }
inline unsigned __float2uint_rz(float v) { return ns::emulation::saturate<unsigned>(truncf(v)); }
inline long long __float2ll_rn(float v) { return ns::emulation::saturate<long long>(nearbyintf(v)); }
inline long long __float2ll_rz(float v) { return ns::emulation::saturate<long long>(truncf(v)); }
inline int __double2int_rn(double v) { return ns::emulation::saturate<int>(nearbyint(v)); }
inline int __double2int_rz(double v) { return ns::emulation::saturate<int>(trunc(v)); }
inline long long __double2ll_rz(double v) { return ns::emulation::saturate<long long>(trunc(v)); }
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
inline float __ll2float_rn(long long v) { return static_cast<float>(v); }
inline float __ull2float_rn(unsigned long long v) { return static_cast<float>(v); }
inline float __double2float_rn(double v) { return static_cast<float>(v); }

// As in CUDA: overloads by type, in the global namespace, with its rules for mixed signs.
#define NS_MIN_MAX(R, A, B)                                                                                        \
  inline R min(A a, B b) { return static_cast<R>(b) < static_cast<R>(a) ? static_cast<R>(b) : static_cast<R>(a); } \
  inline R max(A a, B b) { return static_cast<R>(a) < static_cast<R>(b) ? static_cast<R>(b) : static_cast<R>(a); }
NS_MIN_MAX(int, int, int)
NS_MIN_MAX(unsigned, unsigned, unsigned)
NS_MIN_MAX(unsigned, int, unsigned)
NS_MIN_MAX(unsigned, unsigned, int)
NS_MIN_MAX(long, long, long)
NS_MIN_MAX(unsigned long, unsigned long, unsigned long)
NS_MIN_MAX(unsigned long, long, unsigned long)
NS_MIN_MAX(unsigned long, unsigned long, long)
NS_MIN_MAX(long long, long long, long long)
NS_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
NS_MIN_MAX(unsigned long long, long long, unsigned long long)
NS_MIN_MAX(unsigned long long, unsigned long long, long long)
#undef NS_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(static_cast<double>(a), b); }
inline double max(float a, double b) { return fmax(static_cast<double>(a), b); }
inline double min(double a, float b) { return fmin(a, static_cast<double>(b)); }
inline double max(double a, float b) { return fmax(a, static_cast<double>(b)); }
