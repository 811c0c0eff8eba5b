// Winograd convolution F(m x m, 3x3), m = 2 or 4: stride 1, NHWC.
#pragma once
#include <cstdint>

#include "native/cpu/context.h"

namespace ns::cpu {

struct Winograd {
  int m = 2;                                         // output tile edge
  int64_t batch = 0, h = 0, w = 0, in = 0, out = 0;  // h, w of x before upsampling
  int64_t outH = 0, outW = 0;
  int32_t upsample = 1, pad = 1;
  const float* x = nullptr;
  const void* weights = nullptr;  // [(m + 2)^2][ceil(out/16)][in][16]
  DType dtype = DType::f32;
  const float* bias = nullptr;
  const float* residual = nullptr;
  float* y = nullptr;
  float alpha = 1.0f, beta = 1.0f;
};

void winograd(Context& ctx, const Winograd& p);

// G g G^T of 3x3 kernels for 16 output channels at once, computed in f64: g [9][16], u [(m + 2)^2][16], both 64-byte aligned.
void winogradWeights(int m, const float* g, float* u);

}  // namespace ns::cpu
