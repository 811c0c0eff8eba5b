// How output pixels of a convolution see the input map; used by host and device, tested on the host.
// Source of the division: Granlund and Montgomery, Division by Invariant Integers using Multiplication (1994), figure 4.1.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace ns::cuda {

// n / d for 0 <= n < 2^31 and 1 <= d < 2^31 by one high product, one sum and one shift.
struct Divisor {
  uint32_t divisor, factor, shift;

  __host__ __device__ int quotient(int n) const {
    const auto u = static_cast<uint32_t>(n);
    const auto high = static_cast<uint32_t>((static_cast<uint64_t>(u) * factor) >> 32);
    return static_cast<int>((high + u) >> shift);
  }
};

inline Divisor divisorOf(int d) {
  const auto u = static_cast<uint32_t>(d);
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < u) shift++;
  const uint64_t factor = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - u)) / u + 1;
  return {u, static_cast<uint32_t>(factor), shift};
}

// One launch: input and output pixels are numbered by 32 bits, elements by 64.
struct ConvMap {
  int h, w, in;  // of x
  int upH, upW;  // after the upsampling
  int outH, outW, pixels;
  int kernel, stride, pad;
  int depth;  // kernel * kernel * in
  Divisor up, overWidth, overHeight, overChannels, overKernel;
};

// Where the window of an output pixel begins (in the upsampled map), and the first pixel of its image.
struct Window {
  int image, y, x;
};
constexpr int kOutside = -(1 << 30);  // as y: every place of the window lies in the padding

__host__ __device__ inline Window windowOf(const ConvMap& s, int pixel) {
  const int line = s.overWidth.quotient(pixel), x = pixel - line * s.outW;
  const int b = s.overHeight.quotient(line), y = line - b * s.outH;
  return {b * s.h * s.w, y * s.stride - s.pad, x * s.stride - s.pad};
}

// Pixel of the image under a place of the upsampled map, -1 outside.
__host__ __device__ inline int sourcePixel(const ConvMap& s, int y, int x) {
  if (static_cast<unsigned>(y) >= static_cast<unsigned>(s.upH) || static_cast<unsigned>(x) >= static_cast<unsigned>(s.upW)) return -1;
  if (s.up.divisor == 1) return y * s.w + x;
  return s.up.quotient(y) * s.w + s.up.quotient(x);
}

// A place k = (ky, kx, i) of a window; it walks forward in steps.
struct Tap {
  int ky, kx, i;

  __host__ __device__ void normalize(const ConvMap& s) {
    while (i >= s.in) {
      i -= s.in;
      if (++kx == s.kernel) {
        kx = 0;
        ky++;
      }
    }
  }
};

__host__ __device__ inline Tap tapOf(const ConvMap& s, int k) {
  const int tap = s.overChannels.quotient(k), ky = s.overKernel.quotient(tap);
  return {ky, tap - ky * s.kernel, k - tap * s.in};
}

// Element of x for a window and a tap, -1 in the padding and behind the last tap.
__host__ __device__ inline int64_t sourceOf(const ConvMap& s, const Window& at, const Tap& tap) {
  const int pixel = sourcePixel(s, at.y + tap.ky, at.x + tap.kx);
  return pixel < 0 || tap.ky >= s.kernel ? -1 : static_cast<int64_t>(at.image + pixel) * s.in + tap.i;
}

}  // namespace ns::cuda
