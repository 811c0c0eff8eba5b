// Copies of rows between tensors, shared by the families that move bytes.
#pragma once
#include "cuda/common/context.h"
#include "native/abi/status.h"

namespace ns::cuda {

// Rows of `row` contiguous elements; the dims outside them, the first running fastest, with the elements they step in source and target.
struct RowCopy {
  int64_t row = 1;
  int k = 0;
  int64_t dims[NS_MAX_DIMS], from[NS_MAX_DIMS], to[NS_MAX_DIMS];
  void add(int64_t n, int64_t f, int64_t t) {
    dims[k] = n;
    from[k] = f;
    to[k++] = t;
  }
};

// size: bytes of an element. Source and target do not overlap. Defined in layout.cu.
Status copyRows(const Context& ctx, const void* x, void* y, size_t size, const RowCopy& copy);

}  // namespace ns::cuda
