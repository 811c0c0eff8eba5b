// What random works out once per call: v = from + u * span, then the value itself or add + mul * erfinv(v), clamped to [lo, hi].
#pragma once
#include <cstdint>

namespace ns::cpu {

struct RandomPlan {
  double from, span;
  bool inverse;
  float mul, add, lo, hi;
  uint32_t key0, key1, stream;
};

}  // namespace ns::cpu
