// Convolutions of f32 rounded to tf32 on tensor cores, and mixed operands where that is allowed.
#include "cuda/kernels/conv_run.cuh"

namespace ns::cuda::conv {

template Status forward<gemm::Tf32>(const Context&, const Forward&);

}  // namespace ns::cuda::conv
