#include "cuda/libraries/blas.h"
namespace ns::cuda::blas {
Status enqueue(const Context& ctx, const gemm::Gemm& g) { return gemm::enqueue(ctx, g); }
}
