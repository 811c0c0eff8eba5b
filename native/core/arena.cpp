#include "native/core/arena.h"

#include <new>

namespace ns::core {

Block Arena::take(size_t bytes, Status& status) {
  const auto found = free_.find(Memory::bucket(bytes));
  if (found == free_.end() || found->second.empty()) return memory_.take(bytes, status);
  const Block block = found->second.back();
  found->second.pop_back();
  return block;
}

void Arena::give(Block block, bool reuse) {
  if (!block.data) return;
  if (dropped_) return memory_.give(block);
  // Without memory for the list the block is lost to the pool until the device closes: a replay may still write it.
  try {
    (reuse ? free_[block.bytes] : kept_).push_back(block);
  } catch (const std::bad_alloc&) {
  }
}

void Arena::drop() {
  if (dropped_) return;
  dropped_ = true;
  for (const auto& [size, blocks] : free_) {
    for (const Block& b : blocks) memory_.give(b);
  }
  for (const Block& b : kept_) memory_.give(b);
  free_.clear();
  kept_.clear();
}

}  // namespace ns::core
