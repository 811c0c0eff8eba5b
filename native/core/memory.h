// Size-bucketed pool over a backend's alloc/release. Worker thread only; the counters may be read from anywhere.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>

#include "native/abi/backend.h"
#include "native/abi/status.h"

namespace ns::core {

struct Block {
  void* data = nullptr;
  size_t bytes = 0;  // of the bucket asked for
  size_t whole = 0;  // of the block, which may have been allocated for a larger bucket
};

class Memory {
 public:
  struct Counters {
    std::atomic<uint64_t> pool{0};  // taken from the backend: live, cached, and what slots leave unused of larger blocks
    std::atomic<uint64_t> live{0};  // asked for by slots
    std::atomic<uint64_t> peak{0};  // highest pool
    std::atomic<uint64_t> mapped{0};
  };

  Memory(const NsBackend& backend, void* self, size_t cacheLimit) : backend_(backend), self_(self), cacheLimit_(cacheLimit) {}
  ~Memory() { trim(); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Takes a cached block that fits, else asks the backend; short of memory it drops the cache and asks once more.
  Block take(size_t bytes, Status& status);
  void give(Block block);
  void trim();
  Counters& counters() { return counters_; }
  static size_t bucket(size_t bytes);

 private:
  using Cache = std::list<Block>;                       // oldest first
  using Free = std::multimap<size_t, Cache::iterator>;  // by whole size, oldest first among equals
  size_t spare() const;
  Free::iterator fitting(size_t size);
  bool keep(Block block);
  void release(Block block);
  void dropOldest();
  void makeRoom(size_t size);

  const NsBackend& backend_;
  void* self_;
  size_t cacheLimit_;
  size_t cached_ = 0;
  uint64_t highest_ = 0;  // live memory so far
  Cache cache_;
  Free free_;
  Counters counters_;
};

}  // namespace ns::core
