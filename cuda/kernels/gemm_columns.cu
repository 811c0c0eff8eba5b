// Rows by columns: a b.
#include "cuda/kernels/gemm_run.cuh"

namespace ns::cuda::gemm {

template Status run<Half<f16>, true, false>(const Context&, const Gemm&, const Plan&);
template Status run<Half<bf16>, true, false>(const Context&, const Gemm&, const Plan&);
template Status run<Exact, true, false>(const Context&, const Gemm&, const Plan&);
template Status run<Tf32, true, false>(const Context&, const Gemm&, const Plan&);

}  // namespace ns::cuda::gemm
