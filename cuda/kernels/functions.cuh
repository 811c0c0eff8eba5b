// The elementwise functions and their slopes in f32. exp, log and tanh are CUDA's full-precision ones (2 ulp at most), divisions and roots
// round correctly. Slopes are written so that neither an overflow of the inner exponential nor cancellation near 1 reaches the result.
// Reference: torch's functions of the same names; gelu is the tanh form.
#pragma once
#include <cuda_runtime.h>

namespace ns::cuda {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ inline float silu(float x) { return x / (1.0f + expf(-x)); }
// 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), as x * sigmoid(2u)
__device__ inline float gelu(float x) {
  const float c = fmaf(x * x, -1.5957691216057308f * 0.044715f, -1.5957691216057308f);
  return x / (1.0f + expf(c * x));
}

// sigmoid(x) and its slope, both from exp(-|x|) without cancellation.
__device__ inline float sigmoidAndSlope(float x, float* slope) {
  const float e = expf(-fabsf(x)), r = 1.0f / (1.0f + e), q = e * r;
  *slope = q * r;
  return x < 0.0f ? q : r;
}
__device__ inline float sigmoidSlope(float x) {
  float slope;
  sigmoidAndSlope(x, &slope);
  return slope;
}
__device__ inline float siluSlope(float x) {
  float slope;
  const float y = sigmoidAndSlope(x, &slope);
  return fmaf(x, slope, y);
}
// gelu(x) = x s(u) with u = k (x + 0.044715 x^3): slope s + x s' u'. Beyond 12 the slope is 0 or 1 in f32 and u' could overflow.
__device__ inline float geluSlope(float v) {
  const float k = 1.5957691216057308f;
  const float x = fabsf(v) > 12.0f ? copysignf(12.0f, v) : v;
  const float z = x * x, u = x * fmaf(z, k * 0.044715f, k), inner = x * fmaf(z, 3 * k * 0.044715f, k);
  float slope;
  const float y = sigmoidAndSlope(u, &slope);
  return v != v ? v : fmaf(inner, slope, y);
}
// 1 - tanh^2 x
__device__ inline float tanhSlope(float x) { return 4.0f * sigmoidSlope(x + x); }

}  // namespace ns::cuda
