#include "native/core/memory.h"

#include <algorithm>
#include <new>

namespace ns::core {

namespace {

constexpr size_t kSpare = size_t{256} << 20;  // the most that the pool may add to the highest live memory
constexpr size_t kHuge = size_t{256} << 20;   // larger blocks are few, and rarely of one size
constexpr size_t kWider = 4;                  // a cached block serves a bucket down to this part of it

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

size_t Memory::spare() const { return std::min(cacheLimit_ / 4, kSpare); }

// The smallest cached block that holds the size, of equal ones the last used. All that larger blocks leave unused fits the spare room, so
// that it never adds to what the pool may take.
Memory::Free::iterator Memory::fitting(size_t size) {
  const auto it = free_.lower_bound(size);
  if (it == free_.end()) return it;
  const size_t whole = it->first;
  const uint64_t unused = counters_.pool - counters_.live - cached_;
  if (whole > size && (whole / kWider > size || unused + (whole - size) > spare())) return free_.end();
  return std::prev(free_.upper_bound(whole));
}

Block Memory::take(size_t bytes, Status& status) {
  const size_t size = bucket(bytes);
  Block block{nullptr, size, size};
  if (const auto found = fitting(size); found != free_.end()) {
    block.data = found->second->data;
    block.whole = found->first;
    cached_ -= block.whole;
    cache_.erase(found->second);
    free_.erase(found);
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
  const uint64_t most = std::max<uint64_t>(highest_, counters_.live + size) + spare();
  while (!cache_.empty() && counters_.pool + size > most) dropOldest();
}

void Memory::give(Block block) {
  if (!block.data) return;
  counters_.live -= block.bytes;
  // A block that alone exceeds the limit would drive out every other one and then be dropped itself.
  if (block.whole > cacheLimit_ || !keep(block)) return release(block);
  while (cached_ > cacheLimit_) dropOldest();
}

// False, and nothing changed, where there is no memory for the list itself.
bool Memory::keep(Block block) {
  const size_t before = cache_.size();
  try {
    cache_.push_back(block);
    free_.emplace(block.whole, std::prev(cache_.end()));
  } catch (const std::bad_alloc&) {
    if (cache_.size() > before) cache_.pop_back();
    return false;
  }
  cached_ += block.whole;
  return true;
}

void Memory::release(Block block) {
  counters_.pool -= block.whole;
  backend_.release(self_, block.data, block.whole);
}

// The oldest of all is the oldest of its size.
void Memory::dropOldest() {
  const Block block = cache_.front();
  free_.erase(free_.lower_bound(block.whole));
  cache_.pop_front();
  cached_ -= block.whole;
  release(block);
}

void Memory::trim() {
  for (const Block& b : cache_) release(b);
  cache_.clear();
  free_.clear();
  cached_ = 0;
}

}  // namespace ns::core
