// Products of four warps (wgmma) on the host. Operands are read when a warp starts the product and again when it waits for it: they must be
// the same, and the accumulators are NaN in between. Descriptors are followed as the PTX manual defines them (128-byte swizzle alone).
#pragma once
#include <cstdint>

#include "cuda/emulation/scheduler.h"

namespace ns::emulation {

// 64 x 64 over k = 16. a: registers of the left operand, or null: descriptor left, rows of k. right: descriptor of rows of k (left in
// shared memory) or of rows of columns (left in registers).
struct GroupProduct {
  float* c;
  const unsigned* a;
  uint64_t left, right;
  bool add, f16;
};

void groupFence();
void groupMultiply(const GroupProduct& product);
void groupCommit();
void groupWait(int left);

// What an asynchronous copy of this thread wrote may not be read by a product before this thread's fence.
void writtenByThread(const void* p, const Lane* lane);
void fenceProxy();
// At the end of a block; what is wrong with what was left under way, or null.
const char* dropProducts();

}  // namespace ns::emulation
