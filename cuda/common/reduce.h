// Sums and maxima over a warp and over a block of whole warps; every thread gets the result. The order is fixed: the same bits each time.
#pragma once
#include <cuda_runtime.h>

namespace ns::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// NaN wins, as in PyTorch.
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a != a || a > b ? a : b;
  }
};

template <class Op, class T>
__device__ inline T warpReduce(T v, Op op) {
  for (int lane = kWarp / 2; lane > 0; lane /= 2) v = op(v, __shfl_xor_sync(kAllLanes, v, lane));
  return v;
}

// All threads of the block must call it; blockDim.x (of a one-dimensional block) is a multiple of 32.
template <class Op, class T>
__device__ inline T blockReduce(T v, Op op) {
  __shared__ T partial[kWarp];
  v = warpReduce(v, op);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return v;
  if (lane == 0) partial[warp] = v;
  __syncthreads();
  v = partial[0];
  for (int i = 1; i < warps; i++) v = op(v, partial[i]);
  __syncthreads();  // the next call writes partial again
  return v;
}

template <class T>
__device__ inline T warpSum(T v) {
  return warpReduce(v, Sum());
}
template <class T>
__device__ inline T warpMax(T v) {
  return warpReduce(v, Max());
}
template <class T>
__device__ inline T blockSum(T v) {
  return blockReduce(v, Sum());
}
template <class T>
__device__ inline T blockMax(T v) {
  return blockReduce(v, Max());
}

}  // namespace ns::cuda
