// Weight gradients of convolutions: bf16 operands on tensor cores.
#include "cuda/kernels/conv_run.cuh"

namespace ns::cuda::conv {

template Status weightGradient<gemm::Half<bf16>>(const Context&, const WeightGradient&);

}  // namespace ns::cuda::conv
