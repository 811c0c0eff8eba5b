// Products through cuBLASLt where it is installed and likely faster, otherwise through the own kernels.
#pragma once
#include "cuda/kernels/gemm.h"
#include "cuda/libraries/cublaslt.h"

namespace ns::cuda::blas {

// Scratch slots 0 (own kernels, raw products), 2 (the library's workspace), 3 and 4 (operands made f32).
Status enqueue(const Context& ctx, const gemm::Gemm& g);

// The functions of a library, or false where it or one of them is missing. It stays loaded.
bool load(const char* name, lt::Api& api);
// What Libraries::blas holds; null where the library does not start.
std::shared_ptr<void> open(const lt::Api& api);

}  // namespace ns::cuda::blas
