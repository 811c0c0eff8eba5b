// Sums of partial sums over blocks of rows, in f64 and in a fixed order: part [images][blocks][2][width], two sums per column.
#pragma once
#include "cuda/common/launch.h"

namespace ns::cuda {

// Where the sums go: [images][2][width] in f64, or, where `sums` is null, added to the rows first + image * stride and second + image *
// stride.
struct ColumnSums {
  double* sums;
  float *first, *second;
  int64_t stride;
};

constexpr int kColumns = 32;     // of a block, each by one warp lane
constexpr int kColumnRuns = 16;  // of blocks, summed side by side

static __global__ void joinColumns(const float* part, int64_t blocks, int64_t width, int64_t tiles, ColumnSums to) {
  __shared__ double runs[2][kColumnRuns][kColumns];
  const int64_t image = blockIdx.x / tiles, c = blockIdx.x % tiles * kColumns + threadIdx.x;
  const int64_t per = (blocks + kColumnRuns - 1) / kColumnRuns, from = threadIdx.y * per;
  const int64_t end = from + per < blocks ? from + per : blocks;
  const float* p = part + image * blocks * 2 * width + c;
  double a = 0.0, b = 0.0;
  if (c < width) {
#pragma unroll 8
    for (int64_t k = from; k < end; k++) {
      a += static_cast<double>(p[k * 2 * width]);
      b += static_cast<double>(p[(k * 2 + 1) * width]);
    }
  }
  runs[0][threadIdx.y][threadIdx.x] = a;
  runs[1][threadIdx.y][threadIdx.x] = b;
  __syncthreads();
  if (threadIdx.y != 0 || c >= width) return;
  for (int i = 1; i < kColumnRuns; i++) {
    a += runs[0][i][threadIdx.x];
    b += runs[1][i][threadIdx.x];
  }
  if (to.sums) {
    to.sums[image * 2 * width + c] = a;
    to.sums[(image * 2 + 1) * width + c] = b;
    return;
  }
  float *first = to.first + image * to.stride + c, *second = to.second + image * to.stride + c;  // may be the same row
  *first = static_cast<float>(*first + a);
  *second = static_cast<float>(*second + b);
}

inline Status launchJoin(const Context& ctx, const float* part, int64_t images, int64_t blocks, int64_t width, const ColumnSums& to) {
  const int64_t tiles = divUp(width, kColumns);
  return launch(ctx, joinColumns, {dim3(static_cast<unsigned>(images * tiles)), dim3(kColumns, kColumnRuns)}, part, blocks, width, tiles,
                to);
}

}  // namespace ns::cuda
