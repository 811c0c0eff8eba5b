// sum[n] += alpha * column sums of x [rows, n]: the gradient of a bias. Parts of the rows, then the parts in order; scratch slot 1.
// Floor: one read of x.
#pragma once
#include "cuda/common/context.h"

namespace ns::cuda {

Status addColumnSums(const Context& ctx, const void* x, DType type, int64_t rows, int64_t n, float alpha, float* sum);

}  // namespace ns::cuda
