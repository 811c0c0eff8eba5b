#include "native/core/memory.h"

#include <algorithm>

namespace ns::core {

// Powers of two up to 4 KiB, then eight steps per power of two: at most 12.5 % is lost.
size_t Memory::bucket(size_t bytes) {
  size_t b = 64;
  while (b < bytes && b < 4096) b *= 2;
  if (bytes <= b) return b;
  while (b < bytes / 2 + (bytes & 1)) b *= 2;
  const size_t step = b / 8;
  return b + (bytes - b + step - 1) / step * step;
}

Block Memory::take(size_t bytes, Status& status) {
  const size_t size = bucket(bytes);
  Block block{nullptr, size};
  auto found = free_.find(size);
  if (found != free_.end() && !found->second.empty()) {
    Cache::iterator it = found->second.back();
    found->second.pop_back();
    block = *it;
    cached_ -= block.bytes;
    cache_.erase(it);
  } else {
    block.data = backend_.alloc(self_, size, &status);
    if (!block.data && status.code == NS_OUT_OF_MEMORY) {
      trim();
      status = Status();
      block.data = backend_.alloc(self_, size, &status);
    }
    if (!block.data) {
      if (status.ok()) status = failure(NS_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
      return Block{};
    }
    counters_.pool += size;
    counters_.peak = std::max(counters_.peak.load(), counters_.pool.load());
  }
  counters_.live += size;
  return block;
}

void Memory::give(Block block) {
  if (!block.data) return;
  counters_.live -= block.bytes;
  cached_ += block.bytes;
  cache_.push_back(block);
  free_[block.bytes].push_back(std::prev(cache_.end()));
  while (cached_ > cacheLimit_) drop(cache_.begin());
}

void Memory::drop(Cache::iterator it) {
  auto& same = free_[it->bytes];
  same.erase(std::find(same.begin(), same.end(), it));
  if (same.empty()) free_.erase(it->bytes);
  cached_ -= it->bytes;
  counters_.pool -= it->bytes;
  backend_.release(self_, it->data, it->bytes);
  cache_.erase(it);
}

void Memory::trim() {
  for (const Block& b : cache_) {
    counters_.pool -= b.bytes;
    backend_.release(self_, b.data, b.bytes);
  }
  cache_.clear();
  free_.clear();
  cached_ = 0;
}

}  // namespace ns::core
