#include "native/core/slots.h"

#include <utility>

#include "native/abi/dtype.h"

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

bool Slots::reserve(Slot& slot, Status& status, bool constant) {
  auto storage = std::make_shared<Storage>();
  // A block that was used before in the capture is written again by every replay: no place for a constant.
  storage->block = arena_ && !constant ? arena_->take(slot.bytes, status) : memory_.take(slot.bytes, status);
  if (!storage->block.data) return false;
  storage->arena = arena_;
  storage->constant = constant;
  slot.storage = std::move(storage);
  return true;
}

void Slots::map(Slot& slot, std::unique_ptr<Mapping> file) {
  slot.storage = std::make_shared<Storage>();
  slot.storage->file = std::move(file);
  slot.storage->mapped = slot.bytes;
  memory_.counters().mapped += slot.bytes;
}

bool Slots::share(Slot& slot, const Slot& base, uint64_t offset, Status& status) {
  const DType type = static_cast<DType>(base.info.dtype);
  if (slot.info.dtype != base.info.dtype || offset % dtypeSize(type) != 0) {
    status = failure(NS_INVALID, "a view at byte %llu of %s begins between elements or has another dtype",
                     static_cast<unsigned long long>(offset), dtypeName(type));
    return false;
  }
  if (offset > base.bytes || slot.bytes > base.bytes - offset) {
    status = failure(NS_INVALID, "a view of %zu bytes at %llu does not fit %zu bytes", slot.bytes, static_cast<unsigned long long>(offset),
                     base.bytes);
    return false;
  }
  slot.storage = base.storage;
  slot.offset = base.offset + offset;
  return true;
}

void Slots::close(Slot& slot) {
  std::shared_ptr<Storage> storage = std::move(slot.storage);
  slot.storage.reset();
  slot.offset = 0;
  slot.poison.reset();
  slot.live = false;
  letGo(std::move(storage));
}

void Slots::letGo(std::shared_ptr<Storage> storage) {
  if (!storage || storage.use_count() > 1) return;
  memory_.counters().mapped -= storage->mapped;
  const Block block = std::exchange(storage->block, Block{});
  if (storage->arena) return storage->arena->give(block, !storage->constant);
  memory_.give(block);
}

void Slots::clear() {
  for (Slot& s : slots_) {
    if (s.live) close(s);
  }
  slots_.clear();
}

}  // namespace ns::core
