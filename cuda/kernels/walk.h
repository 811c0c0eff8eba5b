// Positions in tensors of several dims: division by numbers that are known at the launch, offsets, and merged dims of broadcast operands.
#pragma once
#include <cuda_runtime.h>

#include "native/abi/backend.h"

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

// Two operands broadcast to y, as rows of n elements: dims that move together are merged. An operand with step false is one value per row.
struct Broadcast {
  int64_t n = 1;
  bool aStep = true, bStep = true;
  Walk rows;  // from: a, to: b
};

inline int64_t dimFromEnd(const NsTensor& t, int i) { return i < t.ndim ? t.dims[t.ndim - 1 - i] : 1; }

inline Broadcast mergeDims(const NsTensor& a, const NsTensor& b, const NsTensor& y) {
  int64_t dims[NS_MAX_DIMS], as[NS_MAX_DIMS], bs[NS_MAX_DIMS];
  int k = 0;
  int64_t aRun = 1, bRun = 1, total = 1;
  for (int i = 0; i < y.ndim; i++) {
    const int64_t n = dimFromEnd(y, i), da = dimFromEnd(a, i), db = dimFromEnd(b, i);
    const int64_t sa = da == 1 ? 0 : aRun, sb = db == 1 ? 0 : bRun;
    aRun *= da;
    bRun *= db;
    total *= n;
    if (n == 1) continue;
    if (k && sa == as[k - 1] * dims[k - 1] && sb == bs[k - 1] * dims[k - 1]) {
      dims[k - 1] *= n;
      continue;
    }
    dims[k] = n;
    as[k] = sa;
    bs[k++] = sb;
  }
  Broadcast m;
  if (k == 0) return m;
  m.n = dims[0];
  m.aStep = as[0] != 0;
  m.bStep = bs[0] != 0;
  for (int i = 1; i < k; i++) m.rows.add(dims[i], as[i], bs[i], total);
  return m;
}

}  // namespace ns::cuda
