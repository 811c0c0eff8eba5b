// What floors are stated against: the FMA rate and the read bandwidth that all threads of a pool reach together.
#pragma once
#include <cstddef>

#include "native/cpu/pool.h"

namespace ns::cpu {

struct Peak {
  double flops;           // f32 operations per second, a fused multiply-add counted as two
  double bytesPerSecond;  // sequential reads from a buffer of the given size
  const char* target;     // SIMD target the loops were compiled for
};

// Best of rounds; a round takes a few ms per thread. Throws std::bad_alloc.
Peak measurePeak(Pool& pool, size_t bytes, int rounds);

}  // namespace ns::cpu
