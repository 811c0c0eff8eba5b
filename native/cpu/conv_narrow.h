// Direct convolution with very few output channels (the decoder's last layer).
#pragma once
#include <cstdint>

#include "native/cpu/gemm.h"

namespace ns::cpu {

constexpr int64_t kNarrowOutputs = 4;
constexpr int64_t kNarrowTaps = 9;

// g as for gemm() with rows set: n <= kNarrowOutputs, k = taps * in, taps <= kNarrowTaps, one run of in values per tap, no gate and no
// activation. Uses slot 2 of ctx.shared.
void convNarrow(Context& ctx, const Gemm& g, int64_t taps, int64_t in);

}  // namespace ns::cpu
