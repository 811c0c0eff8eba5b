// Conversion of a run of values between dtypes, for kernels that read narrow tables.
#pragma once
#include <cstdint>

#include "native/abi/dtype.h"

namespace ns::cpu {

// y[i] = x[i] for n contiguous values; x and y do not overlap. Rounding as in the op cast.
void castRow(DType from, DType to, const void* x, void* y, int64_t n);

}  // namespace ns::cpu
