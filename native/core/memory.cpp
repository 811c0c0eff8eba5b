#include "native/core/memory.h"

#include <algorithm>
#include <new>

namespace ns::core {

namespace {

constexpr size_t kSpare = size_t{256} << 20;  // the most that the cache may add to the highest live memory
constexpr size_t kHuge = size_t{256} << 20;   // larger blocks are few, and rarely of one size

}  // namespace

// Powers of two up to 4 KiB, then eight steps per power of two: at most 12.5 % is lost; 64 steps for huge blocks.
size_t Memory::bucket(size_t bytes) {
  size_t b = 64;
  while (b < bytes && b < 4096) b *= 2;
  if (bytes <= b) return b;
  while (b < bytes / 2 + (bytes & 1)) b *= 2;
  const size_t step = b / (b < kHuge ? 8 : 64);
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
    makeRoom(size);
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
  highest_ = std::max(highest_, counters_.live.load());
  return block;
}

// What is cached fills the room below the highest live memory, and a little more: a job whose shapes change does not hold the blocks of
// the old ones beside those of the new.
void Memory::makeRoom(size_t size) {
  const uint64_t most = std::max<uint64_t>(highest_, counters_.live + size) + std::min(cacheLimit_ / 4, kSpare);
  while (!cache_.empty() && counters_.pool + size > most) drop(cache_.begin());
}

void Memory::give(Block block) {
  if (!block.data) return;
  counters_.live -= block.bytes;
  // A block that alone exceeds the limit would drive out every other one and then be dropped itself.
  if (block.bytes > cacheLimit_ || !keep(block)) return release(block);
  while (cached_ > cacheLimit_) drop(cache_.begin());
}

// False, and nothing changed, where there is no memory for the list itself.
bool Memory::keep(Block block) {
  const size_t before = cache_.size();
  try {
    cache_.push_back(block);
    free_[block.bytes].push_back(std::prev(cache_.end()));
  } catch (const std::bad_alloc&) {
    if (cache_.size() > before) cache_.pop_back();
    return false;
  }
  cached_ += block.bytes;
  return true;
}

void Memory::release(Block block) {
  counters_.pool -= block.bytes;
  backend_.release(self_, block.data, block.bytes);
}

void Memory::drop(Cache::iterator it) {
  auto& same = free_[it->bytes];
  same.erase(std::find(same.begin(), same.end(), it));
  if (same.empty()) free_.erase(it->bytes);
  cached_ -= it->bytes;
  release(*it);
  cache_.erase(it);
}

void Memory::trim() {
  for (const Block& b : cache_) release(b);
  cache_.clear();
  free_.clear();
  cached_ = 0;
}

}  // namespace ns::core
