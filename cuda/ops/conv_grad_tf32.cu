// Weight gradients of convolutions: f32 rounded to tf32 on tensor cores, and mixed operands where that is allowed.
#include "cuda/kernels/conv_run.cuh"

namespace ns::cuda::conv {

template Status weightGradient<gemm::Tf32>(const Context&, const WeightGradient&);

}  // namespace ns::cuda::conv
