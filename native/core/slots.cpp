#include "native/core/slots.h"

#include <utility>

namespace ns::core {

Slot* Slots::find(SlotRef ref) {
  if (ref.slot >= slots_.size()) return nullptr;
  Slot& s = slots_[ref.slot];
  return s.live && s.generation == ref.generation ? &s : nullptr;
}

Slot* Slots::open(SlotRef ref, const TensorInfo& info) {
  if (ref.slot >= kMaxSlots) return nullptr;
  if (ref.slot >= slots_.size()) slots_.resize(ref.slot + 1);
  Slot& s = slots_[ref.slot];
  if (s.live) return nullptr;
  s.live = true;
  s.generation = ref.generation;
  s.info = info;
  s.bytes = tensorBytes(info);
  return &s;
}

bool Slots::reserve(Slot& slot, Status& status) {
  slot.block = memory_.take(slot.bytes, status);
  return slot.block.data != nullptr;
}

void Slots::close(Slot& slot) {
  if (slot.file) memory_.counters().mapped -= slot.bytes;
  slot.file.reset();
  slot.poison.reset();
  slot.live = false;
  memory_.give(std::exchange(slot.block, Block{}));
}

void Slots::clear() {
  for (Slot& s : slots_) {
    if (s.live) close(s);
  }
  slots_.clear();
}

}  // namespace ns::core
