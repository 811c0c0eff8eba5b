// A recorded sequence of calls, with the memory they use. Worker thread only.
#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "native/abi/gen/ops.h"
#include "native/core/slots.h"

namespace ns::core {

struct RecordedCall {
  uint32_t op = 0;
  int32_t nIn = 0, nOut = 0;
  std::vector<NsTensor> tensors;  // inputs, then outputs
  std::vector<uint32_t> params;
  NsCall call() const { return NsCall{static_cast<int32_t>(op), nIn, nOut, tensors.data(), tensors.data() + nIn, params.data()}; }
  std::string shapes() const;
};

class Capture {
 public:
  Capture(Slots& slots, Memory& memory) : slots_(slots), arena_(std::make_shared<Arena>(memory)) {}
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  const std::shared_ptr<Arena>& arena() const { return arena_; }
  void record(const Command& c, const NsTensor* in, const NsTensor* out, Slot* const* inSlots, Slot* const* outSlots);
  void made(const Slot& slot) { made_.push_back(slot.storage); }  // without a call
  void finish();                                                  // nothing is recorded from here on

  // The error that keeps the capture from running: its own, or one of the memory it reads.
  ErrorPtr blocked(Status& status) const;
  // Whoever reads what the calls from `first` on write gets the error.
  void poison(const ErrorPtr& error, size_t first);
  void heal();  // everything it computes is new
  const std::vector<RecordedCall>& calls() const { return calls_; }

  ErrorPtr broken;        // what failed while it was recorded
  void* graph = nullptr;  // of the device

 private:
  struct Outside {
    std::shared_ptr<Storage> storage;
    size_t changed = 0;  // the last call that changes it in place, counted from 1
  };
  void hold(const Slot& slot, bool changed);

  Slots& slots_;
  std::shared_ptr<Arena> arena_;
  std::vector<RecordedCall> calls_;
  std::vector<Outside> outside_;
  std::unordered_map<const Storage*, size_t> index_;  // into outside_, while it records
  std::vector<std::weak_ptr<Storage>> made_;
};

}  // namespace ns::core
