// Weight gradients of convolutions: exact f32, and mixed operands.
#include "cuda/kernels/conv_run.cuh"

namespace ns::cuda::conv {

template Status weightGradient<gemm::Exact>(const Context&, const WeightGradient&);

}  // namespace ns::cuda::conv
