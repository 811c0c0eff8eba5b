// Consecutive counters of Philox; the generator itself: native/abi/random.h.
#pragma once
#include "native/abi/random.h"

namespace ns::cpu {

// Which word counts the blocks of four numbers, and what the others hold.
struct PhiloxStream {
  uint32_t key0, key1;
  bool wordThree;  // block in word 3 (added to w3); else in words 0 (low) and 1 (high)
  uint32_t w0, w1, w2, w3;
};

inline Philox philoxCounter(const PhiloxStream& s, uint64_t block) {
  if (s.wordThree) return {{s.w0, s.w1, s.w2, s.w3 + static_cast<uint32_t>(block)}};
  return {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), s.w2, s.w3}};
}

}  // namespace ns::cpu
