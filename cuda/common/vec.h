// Packed loads and stores: N values of T as one access of at most 16 bytes.
#pragma once
#include "cuda/common/half.h"

namespace ns::cuda {

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  static_assert(sizeof(T) * N <= 16, "one access has at most 16 bytes");
  T v[N];
};

// The address must be aligned to sizeof(T) * N.
template <int N, class T>
__device__ inline Pack<T, N> loadPack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, class T>
__device__ inline void storePack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Whether every row of `width` elements that starts at a multiple of `width` may be read in packs.
template <class T>
inline bool packs(const void* data, int64_t width, int n) {
  return width % n == 0 && reinterpret_cast<uintptr_t>(data) % (sizeof(T) * static_cast<size_t>(n)) == 0;
}

}  // namespace ns::cuda
