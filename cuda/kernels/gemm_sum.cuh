// Products whose k is split: each block stores the part of its tile, and the last one of a tile adds the parts up, in the order of k
// whoever came last, so that the bits are those of a sum by a kernel of its own. It reads min(m, tile) rows of every part, from L2, alone:
// beyond kMostAlone bytes another kernel does it, which has the whole device. Source: the ticket of threadFenceReduction (CUDA samples) and
// of CUTLASS's semaphore.
#pragma once
#include "cuda/common/vec.h"

namespace ns::cuda::gemm {

constexpr int64_t kMostAlone = 128 << 10;

struct Parts {
  int count;
  int64_t step;  // elements from one to the next
};

// Whether this is the last of `count` blocks to come here, for all of its threads; the ticket is zero before the first and after the last.
__device__ inline bool lastOf(unsigned* ticket, unsigned count) {
  __shared__ unsigned before;
  // The barrier puts the stores of all threads before the fence of one, which counts for them too (a fence is cumulative): they are visible
  // on the device before the ticket is. The second fence and the barrier keep the reads of the last block behind its ticket.
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    before = atomicInc(ticket, count - 1);  // back to zero by the last
    __threadfence();
  }
  __syncthreads();
  return before == count - 1;
}

// Several times four columns summed over the parts; null where there are none. ld.cg: a line of L1 may be older than the fence.
template <int COUNT>
__device__ inline void sumQuads(const float* const (&from)[COUNT], const Parts& parts, Pack<float, 4> (&sum)[COUNT]) {
  constexpr int kTogether = 8 / COUNT;  // 8 loads under way
#pragma unroll
  for (int q = 0; q < COUNT; q++) sum[q] = Pack<float, 4>{};
#pragma unroll 1
  for (int s = 0; s < parts.count; s += kTogether) {
    float4 v[COUNT][kTogether];
#pragma unroll
    for (int q = 0; q < COUNT; q++) {
#pragma unroll
      for (int i = 0; i < kTogether; i++) {
        const bool is = from[q] && s + i < parts.count;
        v[q][i] = is ? __ldcg(reinterpret_cast<const float4*>(from[q] + (s + i) * parts.step)) : float4{0, 0, 0, 0};
      }
    }
#pragma unroll
    for (int q = 0; q < COUNT; q++) {
#pragma unroll
      for (int i = 0; i < kTogether; i++) {  // + 0 changes no bit: a sum that began with +0 is never -0
        sum[q].v[0] += v[q][i].x;
        sum[q].v[1] += v[q][i].y;
        sum[q].v[2] += v[q][i].z;
        sum[q].v[3] += v[q][i].w;
      }
    }
  }
}

__device__ inline float sumOne(const float* from, const Parts& parts) {
  float sum = 0;
#pragma unroll 4
  for (int s = 0; s < parts.count; s++) sum += __ldcg(from + s * parts.step);
  return sum;
}

}  // namespace ns::cuda::gemm
