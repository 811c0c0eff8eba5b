// Slot table: JS numbers the slots, the worker owns what is in them. Worker thread only.
#pragma once
#include <deque>
#include <memory>

#include "native/core/arena.h"
#include "native/core/command.h"
#include "native/core/error.h"
#include "native/core/mapped.h"
#include "native/core/memory.h"

namespace ns::core {

// Memory that several slots may share.
struct Storage {
  Block block;                    // in the pool, or
  std::unique_ptr<Mapping> file;  // in a mapped file
  size_t mapped = 0;
  ErrorPtr poison;               // an op that failed while it worked in place
  std::shared_ptr<Arena> arena;  // of the capture it was made in: the block belongs to that one
  bool constant = false;         // made in a capture, but by no call of it: replays do not make it again
};

struct Slot {
  uint32_t generation = 0;
  bool live = false;
  TensorInfo info;
  size_t bytes = 0;
  std::shared_ptr<Storage> storage;
  size_t offset = 0;  // bytes into the storage
  ErrorPtr poison;
  const Mapping* file() const { return storage ? storage->file.get() : nullptr; }
  void* data() const { return storage ? static_cast<char*>(file() ? file()->data() : storage->block.data) + offset : nullptr; }
  const ErrorPtr& error() const { return poison || !storage ? poison : storage->poison; }
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
  bool reserve(Slot& slot, Status& status, bool constant = false);
  void map(Slot& slot, std::unique_ptr<Mapping> file);
  // Makes the slot share the memory of base from `offset` bytes on.
  bool share(Slot& slot, const Slot& base, uint64_t offset, Status& status);
  void close(Slot& slot);
  void clear();
  // Gives the memory back where this was the last reference to it.
  void letGo(std::shared_ptr<Storage> storage);
  // From now on memory comes from the capture; null: from the pool.
  void record(std::shared_ptr<Arena> arena) { arena_ = std::move(arena); }

 private:
  Memory& memory_;
  std::shared_ptr<Arena> arena_;
  std::deque<Slot> slots_;
};

}  // namespace ns::core
