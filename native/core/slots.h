// Slot table: JS numbers the slots, the worker owns what is in them. Worker thread only.
#pragma once
#include <deque>
#include <memory>

#include "native/core/command.h"
#include "native/core/error.h"
#include "native/core/mapped.h"
#include "native/core/memory.h"

namespace ns::core {

struct Slot {
  uint32_t generation = 0;
  bool live = false;
  TensorInfo info;
  size_t bytes = 0;
  Block block;                    // data in pool memory, or
  std::unique_ptr<Mapping> file;  // data in a mapped file
  ErrorPtr poison;
  void* data() const { return file ? file->data() : block.data; }
};

class Slots {
 public:
  explicit Slots(Memory& memory) : memory_(memory) {}
  ~Slots() { clear(); }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  // The live slot of that generation, or null.
  Slot* find(SlotRef ref);
  // Makes the slot live, without memory; null when it is in use.
  Slot* open(SlotRef ref, const TensorInfo& info);
  bool reserve(Slot& slot, Status& status);
  void close(Slot& slot);
  void clear();

 private:
  Memory& memory_;
  std::deque<Slot> slots_;
};

}  // namespace ns::core
