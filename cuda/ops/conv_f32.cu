// Convolutions of exact f32, and mixed operands.
#include "cuda/kernels/conv_run.cuh"

namespace ns::cuda::conv {

template Status forward<gemm::Exact>(const Context&, const Forward&);

}  // namespace ns::cuda::conv
