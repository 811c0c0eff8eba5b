// __nv_bfloat16 as on the device: a trivial type of 16 bits; arithmetic goes through f32 with one rounding.
#pragma once
#include "cuda/emulation/half_bits.h"

struct __nv_bfloat16_raw {
  unsigned short x;
};

struct __nv_bfloat16 {
  unsigned short bits_;
  __nv_bfloat16() = default;
  __nv_bfloat16(float v) : bits_(ns::emulation::bfloatBits(v)) {}
  explicit __nv_bfloat16(double v) : bits_(ns::emulation::bfloatBits(static_cast<float>(v))) {}
  explicit __nv_bfloat16(int v) : bits_(ns::emulation::bfloatBits(static_cast<float>(v))) {}
  __nv_bfloat16(const __nv_bfloat16_raw& r) : bits_(r.x) {}
  operator float() const { return ns::emulation::bfloatValue(bits_); }
  operator __nv_bfloat16_raw() const { return {bits_}; }
};

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline __nv_bfloat16 __float2bfloat16(float v) { return __nv_bfloat16(v); }
inline __nv_bfloat16 __float2bfloat16_rn(float v) { return __nv_bfloat16(v); }
inline float __bfloat162float(__nv_bfloat16 v) { return ns::emulation::bfloatValue(v.bits_); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits_; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) { return __nv_bfloat16(__nv_bfloat16_raw{v}); }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {__bfloat162float(v.x), __bfloat162float(v.y)}; }
