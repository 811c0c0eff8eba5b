// Scratch memory of the ops, in stream order.
#pragma once
#include <vector>

#include "cuda/common/allocator.h"

namespace ns::cuda {

class StreamScratch : public Scratch {
 public:
  explicit StreamScratch(Allocator& memory) : memory_(memory) {}
  ~StreamScratch() override;
  void* bytes(int slot, size_t n) override;
  // While a graph lives, it may use any memory that was scratch before.
  void hold() { graphs_++; }
  void letGo();
  void drop();  // gives everything back that no graph uses; called when memory is short
  size_t held() const;
  const Status& why() const { return why_; }  // of the last std::bad_alloc

 private:
  struct Buffer {
    void* data = nullptr;
    size_t size = 0;
  };
  static constexpr int kSlots = 8;
  void give(Buffer& b);

  Allocator& memory_;
  Buffer slots_[kSlots];
  std::vector<Buffer> retained_;
  int graphs_ = 0;
  Status why_;
};

}  // namespace ns::cuda
