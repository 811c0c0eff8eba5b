// Columns by columns: weight gradients.
#include "cuda/kernels/gemm_run.cuh"

namespace ns::cuda::gemm {

template Status run<Half<f16>, false, false>(const Context&, const Gemm&, const Plan&);
template Status run<Half<bf16>, false, false>(const Context&, const Gemm&, const Plan&);
template Status run<Exact, false, false>(const Context&, const Gemm&, const Plan&);
template Status run<Tf32, false, false>(const Context&, const Gemm&, const Plan&);

}  // namespace ns::cuda::gemm
