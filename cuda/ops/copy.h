// Copies of rows between tensors, shared by the families that move bytes.
#pragma once
#include "cuda/common/context.h"
#include "native/abi/plan.h"
#include "native/abi/status.h"

namespace ns::cuda {

// Rows of contiguous elements at positions of source and target, which do not overlap; size: bytes of an element. Defined in layout.cu.
Status copyRows(const Context& ctx, const void* x, void* y, size_t size, const plan::Rows& rows);

}  // namespace ns::cuda
