// What the row kernel of vq_lookup gets.
#pragma once
#include <cstdint>

namespace ns::cpu {

constexpr int64_t kVqRows = 48;  // vectors per task, a multiple of 6

struct VqPlan {
  const float* panels;
  const float* bias;  // [V rounded up to 64]
  int64_t V, C;
  bool cosine;
};

}  // namespace ns::cpu
