// Positions in tensors of several dims on the device: division by numbers that are known at the launch, and offsets.
#pragma once
#include <cuda_runtime.h>

#include "native/abi/plan.h"

namespace ns::cuda {

// n / d for 0 <= n < 2^31 by a multiplication (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994), above
// that by a division.
struct Divider {
  int64_t d = 1;
  uint32_t multiplier = 1, shift = 0;
  bool narrow = true;

  Divider() = default;
  // limit: no dividend reaches it.
  Divider(int64_t divisor, int64_t limit) : d(divisor), narrow(limit <= INT64_C(0x80000000) && divisor < INT64_C(0x80000000)) {
    if (!narrow) return;
    while (shift < 31 && (INT64_C(1) << shift) < d) shift++;
    const uint64_t wide = static_cast<uint64_t>(d);
    multiplier = static_cast<uint32_t>((UINT64_C(1) << 32) * ((UINT64_C(1) << shift) - wide) / wide + 1);
  }
  __host__ __device__ int64_t quotient(int64_t n) const {
    if (!narrow) return n / d;
    const uint32_t m = static_cast<uint32_t>(n);
    return (static_cast<uint32_t>(static_cast<uint64_t>(m) * multiplier >> 32) + m) >> shift;
  }
};

// Offsets in two tensors of position `index`, counted over k dims of which the first runs fastest.
struct Walk {
  int k = 0;
  int64_t total = 1;
  Divider dims[NS_MAX_DIMS];
  int64_t from[NS_MAX_DIMS], to[NS_MAX_DIMS];

  // Positions stay below 2^31 where `limit`, the number of elements of the larger tensor, does.
  void add(int64_t n, int64_t f, int64_t t, int64_t limit) {
    dims[k] = Divider(n, limit);
    from[k] = f;
    to[k++] = t;
    total *= n;
  }
  __host__ __device__ void at(int64_t index, int64_t* f, int64_t* t) const {
    int64_t a = 0, b = 0;
    for (int i = 0; i < k; i++) {
      const int64_t q = dims[i].quotient(index), r = index - q * dims[i].d;
      a += r * from[i];
      b += r * to[i];
      index = q;
    }
    *f = a;
    *t = b;
  }
};

inline Walk walkOf(const plan::Positions& p, int64_t limit) {
  Walk w;
  for (int i = 0; i < p.k; i++) w.add(p.dims[i], p.from[i], p.to[i], limit);
  return w;
}

}  // namespace ns::cuda
