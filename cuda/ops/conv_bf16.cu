// Convolutions of bf16 operands on tensor cores.
#include "cuda/kernels/conv_run.cuh"

namespace ns::cuda::conv {

template Status forward<gemm::Half<bf16>>(const Context&, const Forward&);

}  // namespace ns::cuda::conv
