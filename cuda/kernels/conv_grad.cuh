// What conv2d_grad_w does beside its product: partial sums [split][o][ky][kx][i] added into dw OIHW, and the column sums of dy.
// Floor: the partial sums once, dw twice; dy once. A block turns the taps and channels of one output channel in shared memory, so that
// dw is accessed in runs. All sums are in a fixed order: the same bits each time.
#pragma once
#include "cuda/common/reduce.h"
#include "cuda/kernels/any.cuh"

namespace ns::cuda::conv {

constexpr int kTurned = 2048, kMaxTaps = 64 * 64;  // values that a block of addWeight turns; a kernel has at most kMaxTaps

__host__ __device__ inline int channelsPerBlock(int taps) { return taps < kTurned ? kTurned / taps : 1; }

__global__ void __launch_bounds__(kThreads)
    addWeight(const float* partial, int splits, int64_t stride, int in, int taps, float alpha, float* dw) {
  __shared__ float sums[kMaxTaps];
  const int channels = channelsPerBlock(taps), groups = (in + channels - 1) / channels;
  const int64_t o = blockIdx.x / static_cast<unsigned>(groups);
  const int i0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(groups)) * channels, count = in - i0 < channels ? in - i0 : channels;
  for (int e = static_cast<int>(threadIdx.x); e < count * taps; e += kThreads) {
    const int tap = e / count, i = e % count;
    const float* from = partial + (o * taps + tap) * in + i0 + i;
    float sum = 0;
#pragma unroll 4
    for (int s = 0; s < splits; s++) sum += from[s * stride];
    sums[i * taps + tap] = sum;
  }
  __syncthreads();
  float* to = dw + (o * in + i0) * taps;
  for (int e = static_cast<int>(threadIdx.x); e < count * taps; e += kThreads) to[e] += alpha * sums[e];
}

constexpr int kColumns = 32, kLines = 8;

// partial[range][column] of rows [range * depth, ...): block (kColumns, kLines), grid (columns, ranges).
__global__ void __launch_bounds__(kColumns* kLines) columnSums(In from, int64_t rows, int width, int64_t depth, float* partial) {
  __shared__ float sums[kLines][kColumns];
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y), col = static_cast<int>(blockIdx.x) * kColumns + x;
  const int64_t first = blockIdx.y * depth, end = rows - first < depth ? rows : first + depth;
  float sum = 0;
  if (col < width) {
#pragma unroll 4
    for (int64_t row = first + y; row < end; row += kLines) {
      float v[1];
      load(from, row * width + col, v);
      sum += v[0];
    }
  }
  sums[y][x] = sum;
  __syncthreads();
  if (y != 0 || col >= width) return;
  for (int i = 1; i < kLines; i++) sum += sums[i][x];
  partial[static_cast<int64_t>(blockIdx.y) * width + col] = sum;
}

// A warp per column; all 32 lanes take part in the sum.
__global__ void __launch_bounds__(kThreads) addColumns(const float* partial, int ranges, int width, float alpha, float* to) {
  const int64_t col = firstItem() / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float sum = 0;
  for (int r = lane; r < ranges && col < width; r += kWarp) sum += partial[static_cast<int64_t>(r) * width + col];
  sum = warpSum(sum);
  if (lane == 0 && col < width) to[col] += alpha * sum;
}

}  // namespace ns::cuda::conv
