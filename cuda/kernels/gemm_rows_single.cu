// Rows by rows, f32 and mixed types: linear layers.
#include "cuda/kernels/gemm_run.cuh"

namespace ns::cuda::gemm {

template Status run<Exact, true, true>(const Context&, const Gemm&, const Plan&);
template Status run<Tf32, true, true>(const Context&, const Gemm&, const Plan&);

}  // namespace ns::cuda::gemm
