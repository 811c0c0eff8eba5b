// Reads and writes of tensors whose dtype is known at run time: N elements at a time as floats. The switch is uniform over a launch, so it
// costs a branch per access and spares an instantiation per combination of dtypes.
#pragma once
#include "cuda/common/launch.h"
#include "cuda/common/vec.h"

namespace ns::cuda {

constexpr int kWide = 8;  // elements that one thread takes where it may: one access of 16 bytes in 16 bits, two in f32

struct In {
  const void* data;
  DType type;
};
struct Out {
  void* data;
  DType type;
};

inline In inOf(const NsTensor& t) { return {t.data, dtype(t)}; }
inline Out outOf(const NsTensor& t) { return {t.data, dtype(t)}; }
inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

__device__ inline float widen(float v) { return v; }
__device__ inline float widen(f16 v) { return toFloat(v); }
__device__ inline float widen(bf16 v) { return toFloat(v); }
__device__ inline float widen(int32_t v) { return static_cast<float>(v); }
__device__ inline float widen(uint8_t v) { return static_cast<float>(v); }

template <class T, int N>
__device__ inline void get(const void* from, int64_t at, float (&v)[N]) {
  constexpr int kPack = N * sizeof(T) > 16 ? 16 / static_cast<int>(sizeof(T)) : N;
  const T* p = static_cast<const T*>(from) + at;
#pragma unroll
  for (int i = 0; i < N; i += kPack) {
    const Pack<T, kPack> pack = loadPack<kPack>(p + i);
#pragma unroll
    for (int j = 0; j < kPack; j++) v[i + j] = widen(pack.v[j]);
  }
}
template <class T, int N>
__device__ inline void put(void* to, int64_t at, const float (&v)[N]) {
  constexpr int kPack = N * sizeof(T) > 16 ? 16 / static_cast<int>(sizeof(T)) : N;
  T* p = static_cast<T*>(to) + at;
#pragma unroll
  for (int i = 0; i < N; i += kPack) {
    Pack<T, kPack> pack;
#pragma unroll
    for (int j = 0; j < kPack; j++) pack.v[j] = fromFloat<T>(v[i + j]);
    storePack<kPack>(p + i, pack);
  }
}

// Of an activation: f32, f16 or bf16.
template <int N>
__device__ inline void load(const In& t, int64_t at, float (&v)[N]) {
  switch (t.type) {
    case DType::f16: return get<f16>(t.data, at, v);
    case DType::bf16: return get<bf16>(t.data, at, v);
    default: return get<float>(t.data, at, v);
  }
}
template <int N>
__device__ inline void store(const Out& t, int64_t at, const float (&v)[N]) {
  switch (t.type) {
    case DType::f16: return put<f16>(t.data, at, v);
    case DType::bf16: return put<bf16>(t.data, at, v);
    default: return put<float>(t.data, at, v);
  }
}

constexpr int kThreads = 256;

__device__ inline int64_t firstItem() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t itemStep() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// One thread per item, in a loop that strides over the grid.
inline Shape itemShape(const Context& ctx, int64_t items) { return {gridFor(ctx, divUp(items, kThreads)), dim3(kThreads), 0}; }

// Of n contiguous elements so many go as packs of kWide, the rest one by one; all of them do where a tensor is not aligned.
inline int64_t widePacks(int64_t n, bool aligned) { return aligned ? n / kWide : 0; }
inline int64_t wideItems(int64_t n, int64_t packs) { return packs + (n - packs * kWide); }

}  // namespace ns::cuda
