// f32 to the 16-bit float types and back, to nearest even.
#pragma once
#include <cstdint>

#include "cuda/emulation/device_math.h"

namespace ns::emulation {

inline float halfValue(unsigned short h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fffu) << 13;
  // Inf and NaN keep their exponent; the product is exact for all others, subnormal numbers included.
  const uint32_t big = bits<uint32_t>(bits<float>(rest) * 0x1p112f);
  const uint32_t magnitude = rest >= 0x0f800000u ? rest | 0x7f800000u : big;
  return bits<float>(sign | magnitude);
}

inline unsigned short halfBits(float v) {
  const uint32_t x = bits<uint32_t>(v);
  const uint32_t sign = (x >> 16) & 0x8000u, a = x & 0x7fffffffu;
  if (a > 0x7f800000u) return 0x7fff;  // the device's NaN
  if (a >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);
  if (a < 0x38800000u) {
    // Adding 0.5 leaves the subnormal mantissa, rounded, in the low bits.
    const uint32_t r = bits<uint32_t>(bits<float>(a) + 0.5f) - 0x3f000000u;
    return static_cast<unsigned short>(sign | r);
  }
  const uint32_t r = a - 0x38000000u + 0xfffu + ((a >> 13) & 1u);
  return static_cast<unsigned short>(sign | (r >> 13));
}

inline float bfloatValue(unsigned short b) { return bits<float>(static_cast<uint32_t>(b) << 16); }

inline unsigned short bfloatBits(float v) {
  const uint32_t x = bits<uint32_t>(v);
  if ((x & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<unsigned short>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
}

}  // namespace ns::emulation
