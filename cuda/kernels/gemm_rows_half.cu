// Rows by rows, 16 bit: linear layers.
#include "cuda/kernels/gemm_run.cuh"

namespace ns::cuda::gemm {

template Status run<Half<f16>, true, true>(const Context&, const Gemm&, const Plan&);
template Status run<Half<bf16>, true, true>(const Context&, const Gemm&, const Plan&);

}  // namespace ns::cuda::gemm
