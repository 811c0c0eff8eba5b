// Device memory in stream order, from a pool of the device's own. The engine keeps released blocks by size; what it gives back stays in
// the pool, which cuts and joins them, and goes to the driver only when memory is short.
#pragma once
#include <cstddef>
#include <map>
#include <string>

#include "cuda/common/device.h"

namespace ns::cuda {

class Allocator {
 public:
  Allocator(Device& device, size_t limit) : device_(device), limit_(limit) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;
  Status open();

  // Null and NS_OUT_OF_MEMORY with a table of what holds the memory. While a graph is recorded the memory comes outside of it.
  void* take(size_t bytes, Status& status);
  // Released once the work enqueued before is done.
  void give(void* data, size_t bytes);
  void trim();  // waits, and gives what nobody holds back to the driver

  size_t held() const { return held_; }
  std::string json() const;

 private:
  cudaError_t ask(void** data, size_t bytes);
  std::string table(size_t bytes) const;
  size_t pool(cudaMemPoolAttr what) const;

  Device& device_;
  const size_t limit_;  // 0: none
  cudaMemPool_t pool_ = nullptr;
  size_t held_ = 0;
  std::map<size_t, int> blocks_;  // size to number
};

}  // namespace ns::cuda
