// Products that the compiler must not contract with a following sum into one fused operation: where two ops have to agree to the bit.
#pragma once
#include <cuda_runtime.h>

namespace ns::cuda {

#if defined(__CUDA_ARCH__) && !defined(NS_EMULATED)
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }
#else
__host__ __device__ inline float product(float a, float b) { return a * b; }
__host__ __device__ inline double product(double a, double b) { return a * b; }
#endif

}  // namespace ns::cuda
