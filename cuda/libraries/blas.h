// Products through cuBLASLt where it is installed and likely faster, otherwise through the own kernels.
#pragma once
#include "cuda/kernels/gemm.h"

namespace ns::cuda::blas {

// Scratch slots 0 (own kernels, raw products) and 2 (the library's workspace).
Status enqueue(const Context& ctx, const gemm::Gemm& g);

}  // namespace ns::cuda::blas
