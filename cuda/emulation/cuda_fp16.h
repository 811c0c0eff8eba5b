// __half as on the device: a trivial type of 16 bits; arithmetic goes through f32 with one rounding.
#pragma once
#include "cuda/emulation/half_bits.h"

struct __half_raw {
  unsigned short x;
};

struct __half {
  unsigned short bits_;
  __half() = default;
  __half(float v) : bits_(ns::emulation::halfBits(v)) {}
  explicit __half(double v) : bits_(ns::emulation::halfBits(static_cast<float>(v))) {}
  explicit __half(int v) : bits_(ns::emulation::halfBits(static_cast<float>(v))) {}
  __half(const __half_raw& r) : bits_(r.x) {}
  operator float() const { return ns::emulation::halfValue(bits_); }
  operator __half_raw() const { return {bits_}; }
};
using half = __half;

struct alignas(4) __half2 {
  __half x, y;
};
using half2 = __half2;

inline __half __float2half(float v) { return __half(v); }
inline __half __float2half_rn(float v) { return __half(v); }
inline float __half2float(__half v) { return ns::emulation::halfValue(v.bits_); }
inline unsigned short __half_as_ushort(__half v) { return v.bits_; }
inline __half __ushort_as_half(unsigned short v) { return __half(__half_raw{v}); }
inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline float __low2float(__half2 v) { return __half2float(v.x); }
inline float __high2float(__half2 v) { return __half2float(v.y); }
