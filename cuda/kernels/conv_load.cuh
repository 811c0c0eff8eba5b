// Convolution as a GEMM without the matrix: loaders (see gemm_load.cuh) that compute where a chunk lies in the NHWC map.
//   Pixels:  line = output pixel, along k = (ky, kx, i); the left operand of conv2d.
//   Weights: line = output channel, along k; its right operand.
//   Windows: line k = output pixel, across it (ky, kx, i); the right operand of conv2d_grad_w.
// FAST: x has the element type, in % chunk == 0 and x is aligned to 16 bytes: a chunk stays in one tap and is copied asynchronously.
// Floor: x is read once per tap from L2, about once from memory; two divisions by multiplication per chunk.
// Source: implicit GEMM of Chetlur et al., cuDNN (2014), section 3.
#pragma once
#include "cuda/common/ptx.h"
#include "cuda/common/vec.h"
#include "cuda/kernels/conv_map.h"
#include "cuda/kernels/epilogue.cuh"
#include "cuda/kernels/gemm_tile.cuh"

namespace ns::cuda::conv {

template <class E>
constexpr int kChunk = gemm::kChunkBytes / static_cast<int>(sizeof(E));

// The elements of a window from a tap on, as many as a chunk has; zeros outside the map.
template <class E>
__device__ inline void gather(void* to, const ConvMap& s, const void* x, DType type, const Window& at, Tap tap) {
  Pack<E, kChunk<E>> chunk;
  int64_t from = sourceOf(s, at, tap);
#pragma unroll
  for (int e = 0; e < kChunk<E>; e++) {
    chunk.v[e] = fromFloat<E>(from < 0 ? 0.0f : Epilogue::read(x, type, from));
    if (++tap.i < s.in) {
      if (from >= 0) from++;
    } else {
      tap.normalize(s);
      from = sourceOf(s, at, tap);
    }
  }
  storePack<kChunk<E>>(static_cast<E*>(to), chunk);
}

template <class E>
__device__ inline void copyChunk(void* to, const void* x, int64_t from) {
  copyAsync16(to, static_cast<const E*>(x) + (from < 0 ? 0 : from), from >= 0);
}

template <bool FAST>
struct Pixels {
  static constexpr bool kAlongK = true;
  ConvMap map;
  const void* x;
  DType type;

  using State = Window;
  __device__ void batch(int) {}
  template <class E>
  __device__ State start(int pixel) const {
    Window at = windowOf(map, pixel);
    if (pixel >= map.pixels) at.y = kOutside;
    return at;
  }
  template <class E>
  __device__ void fill(void* to, const Window& at, int k) const {
    const Tap tap = tapOf(map, k);
    if constexpr (FAST) {
      copyChunk<E>(to, x, sourceOf(map, at, tap));
    } else {
      gather<E>(to, map, x, type, at, tap);
    }
  }
};

template <bool FAST>
struct Windows {
  static constexpr bool kAlongK = false;
  ConvMap map;
  const void* x;
  DType type;

  using State = Tap;
  __device__ void batch(int) {}
  template <class E>
  __device__ State start(int at) const {
    return tapOf(map, at);
  }
  template <class E>
  __device__ void fill(void* to, const Tap& tap, int pixel) const {
    Window at = windowOf(map, pixel);
    if (pixel >= map.pixels) at.y = kOutside;
    if constexpr (FAST) {
      copyChunk<E>(to, x, sourceOf(map, at, tap));
    } else {
      gather<E>(to, map, x, type, at, tap);
    }
  }
};

// Rows of packed weights, aligned to 16 bytes: the right operand of conv2d. The state is the number of the row alone, which leaves
// registers to the sums.
struct Weights {
  static constexpr bool kAlongK = true;
  const void* data;
  int rows, width, pitch;

  using State = int;
  __device__ void batch(int) {}
  template <class E>
  __device__ State start(int row) const {
    return row;
  }
  template <class E>
  __device__ void fill(void* to, int row, int k) const {
    copyChunk<E>(to, data, row < rows && k < width ? static_cast<int64_t>(row) * pitch + k : -1);
  }
};

}  // namespace ns::cuda::conv
