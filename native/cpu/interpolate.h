// The sampling positions of bicubic interpolation, shared by interpolate and its gradient.
#pragma once
#include <cstdint>

namespace ns::cpu {

// Four neighbours of one output coordinate: indices clamped to the input, and weights (a = -0.75) computed in f32.
struct Cubic {
  int64_t at[4];
  float weight[4];
};

// Output coordinate i of `out` over an input of `in` samples (align_corners false).
Cubic cubicAt(int64_t i, int64_t in, int64_t out);

}  // namespace ns::cpu
