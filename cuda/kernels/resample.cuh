// Which samples an output coordinate of interpolate reads, and with what weights: shared by the op and its gradient.
// Reference: F.interpolate(mode='area'), (mode='bicubic', align_corners=False, antialias=False: Keys' kernel, a = -0.75, borders clamped,
// coordinates and weights in f32), (mode='nearest').
#pragma once
#include "cuda/common/exact.h"
#include "native/abi/gen/ops.h"

namespace ns::cuda {

// Four neighbours of one output coordinate: indices clamped to the input, and weights.
struct Cubic {
  int64_t at[4];
  float weight[4];
};

__device__ inline float cubicNear(float t) { return (1.25f * t - 2.25f) * t * t + 1.0f; }           // |t| <= 1
__device__ inline float cubicFar(float t) { return ((-0.75f * t + 3.75f) * t - 6.0f) * t + 3.0f; }  // 1 < |t| < 2

__device__ inline Cubic cubicAt(int64_t i, int64_t in, int64_t out) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  const float src = product(scale, static_cast<float>(i) + 0.5f) - 0.5f;
  const float base = floorf(src), t = src - base;
  Cubic c;
  for (int k = 0; k < 4; k++) {
    const int64_t at = static_cast<int64_t>(base) - 1 + k;
    c.at[k] = at < 0 ? 0 : at >= in ? in - 1 : at;
  }
  c.weight[0] = cubicFar(t + 1.0f);
  c.weight[1] = cubicNear(t);
  c.weight[2] = cubicNear(1.0f - t);
  c.weight[3] = cubicFar(2.0f - t);
  return c;
}

// Inputs [first, last) of an output coordinate in area mode.
__device__ inline void areaAt(int64_t o, int64_t in, int64_t out, int64_t* first, int64_t* last) {
  *first = o * in / out;
  *last = ((o + 1) * in + out - 1) / out;
}

using Resampling = op::interpolate::Mode;

// How much of input i output o takes; taps that clamp to the same input are added. False where it does not read it.
__device__ inline bool takes(Resampling mode, int64_t i, int64_t o, int64_t in, int64_t out, float* weight) {
  *weight = 1.0f;
  if (mode == Resampling::nearest) return o * in / out == i;
  if (mode == Resampling::area) {
    int64_t a, b;
    areaAt(o, in, out, &a, &b);
    *weight = 1.0f / static_cast<float>(b - a);
    return i >= a && i < b;
  }
  const Cubic c = cubicAt(o, in, out);
  bool any = false;
  float sum = 0;
  for (int k = 0; k < 4; k++) {
    if (c.at[k] != i) continue;
    sum = any ? sum + c.weight[k] : c.weight[k];
    any = true;
  }
  *weight = sum;
  return any;
}

// Outputs [first, last) among which are all that read input i: those whose position lies within `reach` inputs of it, and one more on
// either side for what rounding moves.
__host__ __device__ inline void readersAround(int64_t i, int64_t in, int64_t out, int64_t reach, int64_t* first, int64_t* last) {
  const int64_t from = i - reach, to = i + reach + 1;
  const int64_t a = (from > 0 ? from : 0) * out / in - 1, b = (to * out + in - 1) / in + 1;
  *first = a < 0 ? 0 : a;
  *last = b > out ? out : b;
}
constexpr int64_t reachOf(Resampling mode) { return mode == Resampling::bicubic ? 3 : 0; }

}  // namespace ns::cuda
