// Memory of one capture: what is released inside is used again inside only, and all of it stays reserved until the capture is dropped.
// Worker thread only.
#pragma once
#include <unordered_map>
#include <vector>

#include "native/core/memory.h"

namespace ns::core {

class Arena {
 public:
  explicit Arena(Memory& memory) : memory_(memory) {}
  ~Arena() { drop(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Block take(size_t bytes, Status& status);
  // reuse false: the contents are needed by later replays.
  void give(Block block, bool reuse);
  // From now on blocks go back to the pool.
  void drop();

 private:
  Memory& memory_;
  bool dropped_ = false;
  std::unordered_map<size_t, std::vector<Block>> free_;
  std::vector<Block> kept_;
};

}  // namespace ns::core
