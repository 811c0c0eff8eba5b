// The three float types of activations and what takes each to f32 and back (round to nearest even).
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "native/abi/dtype.h"

namespace ns::cuda {

using f16 = __half;
using bf16 = __nv_bfloat16;

__host__ __device__ inline float toFloat(float v) { return v; }
__host__ __device__ inline float toFloat(f16 v) { return __half2float(v); }
__host__ __device__ inline float toFloat(bf16 v) { return __bfloat162float(v); }

template <class T>
__host__ __device__ T fromFloat(float v);
template <>
__host__ __device__ inline float fromFloat<float>(float v) {
  return v;
}
template <>
__host__ __device__ inline f16 fromFloat<f16>(float v) {
  return __float2half_rn(v);
}
template <>
__host__ __device__ inline bf16 fromFloat<bf16>(float v) {
  return __float2bfloat16_rn(v);
}

template <class T>
constexpr DType kDType = DType::f32;
template <>
constexpr DType kDType<f16> = DType::f16;
template <>
constexpr DType kDType<bf16> = DType::bf16;

}  // namespace ns::cuda
