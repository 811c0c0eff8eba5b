// Weight gradient of a 3x3 convolution with stride 1 by Winograd F(2x2, 3x3).
#pragma once
#include <cstdint>

#include "native/cpu/gemm_tn.h"

namespace ns::cpu {

struct WinogradGrad {
  const float *x = nullptr, *dy = nullptr;  // [batch, h, w, in] before upsampling, [batch, outH, outW, n]
  int64_t batch = 0, h = 0, w = 0, in = 0, outH = 0, outW = 0, n = 0, pad = 1, upsample = 1;
};

// Worth it: enough channels and tiles for the transforms to be small beside the products.
bool winogradGradPays(const WinogradGrad& g);

// Sums in the layout of gemmTn with 9 taps; p is filled in with the chunks that tnSum needs. Slot 0 of ctx.shared, 0 to 2 of every
// ctx.perThread.
const float* winogradGrad(Context& ctx, const WinogradGrad& g, TnProduct& p);

}  // namespace ns::cpu
