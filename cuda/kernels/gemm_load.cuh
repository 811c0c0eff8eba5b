// Where the operands of a GEMM come from. A loader is a value with
//   kAlongK                  lines along k (row-major A, W of x W^T) or across it,
//   void batch(int z)        moves to one product of a batch,
//   State start(int at)      what a thread keeps for a line: `at` is the row (along k) or the first of a chunk's elements (across k),
//   void fill<E>(to, state, k)   writes one chunk, 16 bytes: elements k.. of the row, or the elements at `at`.. of line k; zeros outside.
// Fast wants rows that start at 16 bytes and the element type itself: copies stay asynchronous. Any takes every dtype and alignment.
// A convolution plugs in loaders of its own, whose State holds the pixel.
#pragma once
#include "cuda/common/ptx.h"
#include "cuda/common/vec.h"
#include "cuda/kernels/gemm_tile.cuh"

namespace ns::cuda::gemm {

// A matrix in memory: `lines` lines of `width` elements, `pitch` elements apart.
struct Matrix {
  const void* data = nullptr;
  int64_t pitch = 0;
  int64_t batch = 0;  // elements between the products of a batch
  DType type = DType::f32;

  bool aligned(DType element, int64_t width) const {
    const int64_t chunk = kChunkBytes / static_cast<int64_t>(dtypeSize(element));
    return type == element && width % chunk == 0 && pitch % chunk == 0 && batch % chunk == 0 &&
           reinterpret_cast<uintptr_t>(data) % kChunkBytes == 0;
  }
};

template <bool ALONG_K>
struct Fast {
  static constexpr bool kAlongK = ALONG_K;
  const char* data;
  int64_t pitch, stride;  // bytes
  int lines, width;       // elements: rows of m (or n) by k, or rows of k by m (or n)

  struct State {
    const char* at;
    bool inside;
  };
  static Fast of(const Matrix& m, int lines, int width) {
    const auto size = static_cast<int64_t>(dtypeSize(m.type));
    return {static_cast<const char*>(m.data), m.pitch * size, m.batch * size, lines, width};
  }
  __device__ void batch(int z) { data += z * stride; }
  template <class E>
  __device__ State start(int at) const {
    if constexpr (ALONG_K) return {data + at * pitch, at < lines};
    return {data + at * static_cast<int64_t>(sizeof(E)), at < width};
  }
  template <class E>
  __device__ void fill(void* to, const State& s, int k) const {
    if constexpr (ALONG_K) {
      copyAsync16(to, s.at + k * static_cast<int64_t>(sizeof(E)), s.inside && k < width);
    } else {
      copyAsync16(to, s.at + k * pitch, s.inside && k < lines);
    }
  }
};

template <bool ALONG_K>
struct Any {
  static constexpr bool kAlongK = ALONG_K;
  const void* data;
  int64_t pitch, stride;  // elements
  int lines, width;
  DType type;
  bool packed;  // whole chunks may be read at once

  struct State {
    int at;
  };
  static Any of(const Matrix& m, int lines, int width, DType element) {
    const int64_t chunk = kChunkBytes / static_cast<int64_t>(dtypeSize(element)), bytes = chunk * static_cast<int64_t>(dtypeSize(m.type));
    const bool packed = width % chunk == 0 && m.pitch % chunk == 0 && m.batch % chunk == 0 && bytes <= 16 &&
                        reinterpret_cast<uintptr_t>(m.data) % static_cast<uintptr_t>(bytes) == 0;
    return {m.data, m.pitch, m.batch, lines, width, m.type, packed};
  }
  __device__ void batch(int z) { data = static_cast<const char*>(data) + z * stride * (type == DType::f32 ? 4 : 2); }
  template <class E>
  __device__ State start(int at) const {
    return {at};
  }
  template <class E>
  __device__ void fill(void* to, const State& s, int k) const {
    const int line = ALONG_K ? s.at : k, first = ALONG_K ? k : s.at;
    switch (type) {
      case DType::f16: return fillFrom<E>(to, static_cast<const f16*>(data) + line * pitch, line, first);
      case DType::bf16: return fillFrom<E>(to, static_cast<const bf16*>(data) + line * pitch, line, first);
      default: return fillFrom<E>(to, static_cast<const float*>(data) + line * pitch, line, first);
    }
  }

 private:
  template <class E, class T>
  __device__ void fillFrom(void* to, const T* row, int line, int first) const {
    constexpr int kCount = kChunkBytes / static_cast<int>(sizeof(E));
    Pack<E, kCount> chunk;
    constexpr int kAtOnce = kCount * sizeof(T) <= 16 ? kCount : 16 / static_cast<int>(sizeof(T));
    if (packed && kAtOnce == kCount && line < lines && first < width) {
      const Pack<T, kAtOnce> from = loadPack<kAtOnce>(row + first);
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) chunk.v[i] = fromFloat<E>(toFloat(from.v[i]));
    } else {
#pragma unroll
      for (int i = 0; i < kCount; i++) {
        const bool inside = line < lines && first + i < width;
        chunk.v[i] = fromFloat<E>(inside ? toFloat(row[first + i]) : 0.0f);
      }
    }
    storePack<kCount>(static_cast<E*>(to), chunk);
  }
};

}  // namespace ns::cuda::gemm
