// Kernels of one row at a time: which threads take a row, the part of it that each keeps in registers, sums over it.
// A row of up to 512 values is a warp's (four of them per block, no barrier), a longer one a block's; what does not fit into the
// registers of 1024 threads is read again by every pass.
#pragma once
#include "cuda/common/launch.h"
#include "cuda/common/reduce.h"
#include "cuda/ops/quad.h"

namespace ns::cuda {

constexpr int kHeld = 4;  // quads that a thread keeps
constexpr int kMostThreads = 1024;
constexpr int kWarpsOfRows = 4;  // rows per block where a row is a warp's

struct Rows {
  int64_t rows;
  int64_t width;
  int threads;  // per row
  bool perWarp;

  Shape shape() const {
    if (perWarp) return {dim3(static_cast<unsigned>(divUp(rows, kWarpsOfRows))), dim3(kWarpsOfRows * kWarp)};
    return {dim3(static_cast<unsigned>(rows)), dim3(static_cast<unsigned>(threads))};
  }
};

inline Rows planRows(int64_t rows, int64_t width, int held = kHeld, int most = kMostThreads) {
  const int64_t threads = divUp(divUp(divUp(width, kQuad), held), kWarp) * kWarp;
  return {rows, width, static_cast<int>(threads < most ? threads : most), threads == kWarp};
}
// Rows along the last dim.
inline Rows planRows(const NsTensor& t, int held = kHeld, int most = kMostThreads) {
  const int64_t width = t.ndim ? t.dims[t.ndim - 1] : 1, total = count(t);
  return planRows(total ? total / width : 0, width, held, most);
}

__device__ inline int64_t rowOf(const Rows& r) {
  if (!r.perWarp) return blockIdx.x;
  return int64_t{blockIdx.x} * kWarpsOfRows + static_cast<int>(threadIdx.x) / kWarp;
}

// What a thread has of one row: the first H of its quads in registers.
template <int H = kHeld>
struct Part {
  const Floats& f;
  int64_t row, width, first, step;
  float fill;
  float held[H][kQuad];

  __device__ Part(const Rows& r, const Floats& from, int64_t index, float fillWith)
      : f(from),
        row(index * r.width),
        width(r.width),
        first((r.perWarp ? static_cast<int>(threadIdx.x) % kWarp : static_cast<int>(threadIdx.x)) * kQuad),
        step(r.threads * kQuad),
        fill(fillWith) {
    readQuads<H>(
        f, [&](int k) { return row + first + k * step; }, [&](int k) { return width - first - k * step; }, fill, held);
  }

  // The quad of this row at column c of another tensor of the same shape.
  __device__ void other(const Floats& g, int64_t c, float (&v)[kQuad]) const { readQuad(g, row + c, width - c, 0.0f, v); }

  // f(v, c): the quad v at column c; values behind the row's end are `fill`.
  template <class F>
  __device__ void each(F body) {
#pragma unroll
    for (int k = 0; k < H; k++) {
      if (first + k * step < width) body(held[k], first + k * step);
    }
    for (int64_t c = first + H * step; c < width; c += step) {
      float v[kQuad];
      readQuad(f, row + c, width - c, fill, v);
      body(v, c);
    }
  }
  // Sum of g(value) over the thread's part, and over nothing behind the end.
  template <class G>
  __device__ float sum(G g) {
    float s = 0;
    each([&](const float(&v)[kQuad], int64_t c) {
      for (int e = 0; e < kQuad; e++) s += c + e < width ? g(v[e]) : 0.0f;
    });
    return s;
  }
};

// Sums of N values at once over the threads of a row; every thread gets them.
template <int N>
__device__ inline void rowSums(float (&v)[N], bool perWarp) {
  __shared__ float partial[N][kWarp];
  for (int i = 0; i < N; i++) v[i] = warpSum(v[i]);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (perWarp || warps == 1) return;
  if (lane == 0) {
    for (int i = 0; i < N; i++) partial[i][warp] = v[i];
  }
  __syncthreads();
  for (int i = 0; i < N; i++) v[i] = warpSum(lane < warps ? partial[i][lane] : 0.0f);
  __syncthreads();  // the next call writes partial again
}
__device__ inline float rowSum(float v, bool perWarp) {
  float one[1] = {v};
  rowSums<1>(one, perWarp);
  return one[0];
}
__device__ inline float rowMax(float v, bool perWarp) { return perWarp ? warpMax(v) : blockMax(v); }

}  // namespace ns::cuda
